"""A data directory, a composition, and a way to call the command line and see what it said."""

import asyncio
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from adapters.cli import run
from storage import StorageSettings, open_storage
from tests.cli.app_fixture import TestComposition
from tests.web.fake_pool import picture


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    """Commands set up the log for their whole process; the next test must not see it."""
    root = logging.getLogger()
    handlers, level, hook = list(root.handlers), root.level, threading.excepthook
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    threading.excepthook = hook
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def quick_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.usecases.jobs.PREVIEW_INTERVAL_S", 0.01)


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with this version's tables, made once: each test gets a copy."""
    made = tmp_path_factory.mktemp("upgraded")

    async def upgrade() -> None:
        async with open_storage(StorageSettings(min_free_mb=0), made):
            pass

    asyncio.run(upgrade())
    return made


@pytest.fixture
def data_dir(tmp_path: Path, upgraded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "data"
    shutil.copytree(upgraded, made)
    made.chmod(0o700)
    monkeypatch.setenv("EASEL_DATA_DIR", str(made))
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the person is."""
    made = tmp_path / "here"
    made.mkdir()
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def composition(data_dir: Path) -> TestComposition:
    return TestComposition(data_dir)


@pytest.fixture
def call(
    composition: TestComposition, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    monkeypatch.setattr("sys.argv", ["easel"])

    def calling(*words: str) -> Said:
        capsys.readouterr()
        code = run(composition, words)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return calling


@pytest.fixture
def fox(folder: Path) -> Path:
    """A picture file."""
    path = folder / "fox.png"
    path.write_bytes(picture(3, 48, 32))
    return path
