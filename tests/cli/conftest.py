"""A data directory, a composition with fake engines, and a way to call the command line in this process."""

import asyncio
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from adapters.cli import run_cli
from storage import StorageSettings, open_storage
from tests.cli.app_fixture import TestComposition
from tests.web.fake_pool import picture


@dataclass(frozen=True)
class CliResult:
    code: int
    out: str
    err: str


LEAKING_VARIABLES = re.compile(
    r"EASEL_.*|HF_.*|.*_TOKEN(_FILE)?|TRANSFORMERS_OFFLINE|((http|https|all|no)_proxy)|GIT_.*|PIP_.*|UV_.*|"
    r"NO_COLOR|FORCE_COLOR|CLICOLOR.*|PY_COLORS|COLUMNS|LINES|TERM|SSH_CONNECTION|XDG_DATA_HOME",
    re.IGNORECASE,
)
"""Variables of the developer's shell that change what commands do or print."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the developer's settings, tokens and proxies; with an empty data directory and model cache."""
    for name in filter(LEAKING_VARIABLES.fullmatch, tuple(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "default-data"))


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Commands set up logging for the whole process; undone for the next test."""
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
def frequent_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.usecases.jobs.PREVIEW_INTERVAL_S", 0.01)


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with an up-to-date database, created once: each test gets a copy."""
    folder = tmp_path_factory.mktemp("upgraded")

    async def upgrade() -> None:
        async with open_storage(StorageSettings(min_free_mb=0), folder):
            pass

    asyncio.run(upgrade())
    return folder


@pytest.fixture
def data_dir(tmp_path: Path, upgraded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "data"
    shutil.copytree(upgraded, path)
    path.chmod(0o700)
    monkeypatch.setenv("EASEL_DATA_DIR", str(path))
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    path = tmp_path / "here"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def composition(data_dir: Path) -> TestComposition:
    return TestComposition(data_dir)


@pytest.fixture
def call(
    composition: TestComposition, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., CliResult]:
    monkeypatch.setattr("sys.argv", ["easel"])

    def run_command(*words: str) -> CliResult:
        capsys.readouterr()
        code = run_cli(composition, words)
        captured = capsys.readouterr()
        return CliResult(code, captured.out, captured.err)

    return run_command


@pytest.fixture
def fox(folder: Path) -> Path:
    """An image file."""
    path = folder / "fox.png"
    path.write_bytes(picture(3, 48, 32))
    return path
