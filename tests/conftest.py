import contextlib
import gc
import os
import shutil
import sqlite3
import ssl
import subprocess
import sys
from collections import UserDict
from collections.abc import Generator, Iterator, Mapping
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from sqlalchemy import Engine

import storage
from inference.ipc.environment import clean_environment
from inference.ipc.process import ChildProcess
from storage import connections
from storage.dialect import Dialect
from tests.fork_server import client, spawn
from tests.fork_server.client import Forks
from tests.processor_time import SLOW_TESTS

# The workers of the suite have all cores busy already: torch's further threads would wait for one, and spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nor does any test need the internet's certificate authorities, which each HTTP client reads in 30 ms.
os.environ.setdefault("SSL_CERT_FILE", str(Path(__file__).with_name("certificate.pem")))

# Until everything is imported and collected there is no garbage.
gc.disable()

# Time per example says nothing on a machine that also does other work.
settings.register_profile("easel", deadline=None, max_examples=40)
settings.load_profile("easel")


ENGINES = (
    "tests/test_first_hour.py",
    "tests/test_journey.py",
    "tests/test_first_model.py",
    "tests/inference/test_real_engines.py",
)
"""All run in one worker, which then imports torch once for their many processes."""
LONG = (
    *ENGINES,
    "tests/crash/",
    "tests/training/",
    "tests/web/test_page.py",
    "tests/discord/test_restart.py",
    "tests/telegram/test_restart.py",
    "tests/cli/test_update.py",
)


class NoTorch(MetaPathFinder):
    """Skips a test, or a whole module of tests, that imports it."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name in ("diffusers", "torch", "transformers"):
            pytest.skip(f"`make quick` imports no {name}", allow_module_level=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="no child process, no browser, no torch, no slow tests")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("quick"):
        config.option.markexpr = "not process and not page and not slow"
        sys.meta_path.insert(0, NoTorch())


FORKS = frozenset(("forked_engines", "forked_workers", "forks", "server_forks", "worker_forks"))
"""Fixtures that start processes."""


@pytest.hookimpl(tryfirst=True)  # before those marked are deselected
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that take a minute go first, so that no worker is left alone with one at the end."""

    def place(item: pytest.Item) -> int:
        name = item.nodeid
        return next((place for place, start in enumerate(LONG) if name.startswith(start)), len(LONG))

    items.sort(key=place)
    if config.getoption("quick"):
        slow = set(SLOW_TESTS.read_text(encoding="utf-8").split())
        items[:] = [item for item in items if item.nodeid.partition("[")[0] not in slow]
    for item in items:
        if FORKS & set(getattr(item, "fixturenames", ())):
            item.add_marker("process")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    return (yield from _no_process(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    return (yield from _no_process(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    return (yield from _no_process(item))


def _no_process(item: pytest.Item) -> Generator[None, Any, Any]:
    """Only tests marked `process` or `page` may start one, so that `make quick` stays quick."""
    if item.get_closest_marker("process") or item.get_closest_marker("page"):
        return (yield)
    started = []

    def refuse(_self: Any, command: Any, *_: Any, **__: Any) -> None:
        started.append(command)
        raise PermissionError(f"mark this test with pytest.mark.process: it starts {command}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", refuse)
        result = yield
    if started:
        pytest.fail(f"mark this test with pytest.mark.process: it starts {started[0]}")
    return result


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "engines" if file in ENGINES else file

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


def _fork_server(preload: str, environ: Mapping[str, str]) -> Iterator[str]:
    server = client.ForkServer(preload, environ) if client.IS_SUPPORTED else None
    yield server.address if server is not None else ""
    if server is not None:
        server.close()


@pytest.fixture(scope="session")
def server_forks() -> Iterator[Forks]:
    """`main.py` forked; its children have the real start."""
    for address in _fork_server("server", os.environ):
        yield Forks(address)


@pytest.fixture(scope="session")
def worker_forks() -> Iterator[Mapping[str, str]]:
    """Children that need no torch, by module."""
    for address in _fork_server("workers", clean_environment(os.environ)):
        yield dict.fromkeys(("inference.hub.worker", "inference.images.worker", "inference.worker"), address)


@pytest.fixture(scope="session")
def forks(server_forks: Forks, worker_forks: Mapping[str, str]) -> Iterator[Forks]:
    """`main.py` and its children forked."""
    for address in _fork_server("engines", clean_environment(os.environ)):
        yield Forks(server_forks.program, {**worker_forks, "inference.worker": address})


@pytest.fixture(scope="module")
def forked_workers(worker_forks: Mapping[str, str]) -> Iterator[None]:
    """The module's own children, with the engines of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChildProcess, "spawn", spawn.spawn_from(worker_forks))
        yield


@pytest.fixture(scope="module")
def forked_engines(forks: Forks) -> Iterator[None]:
    """The module's own children, with the real engines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChildProcess, "spawn", spawn.spawn_from(forks.children))
        yield


def pytest_collection_finish() -> None:
    """What was imported stays: looking for garbage in it again and again is a tenth of the work of torch's tests."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def tables_created_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each new database file is a copy of one that was migrated: Alembic re-imports its scripts for each migration."""
    template, migrate = tmp_path_factory.mktemp("tables") / "easel.db", storage.migrate

    def copy_or_migrate(engine: Engine, dialect: Dialect, backups: Path) -> None:
        path = Path(engine.url.database or "")
        if engine.dialect.name != "sqlite" or path.exists():
            return migrate(engine, dialect, backups)
        if template.exists():
            shutil.copyfile(template, path)
            return None
        migrate(engine, dialect, backups)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("VACUUM INTO ?", (str(template),))
        with contextlib.closing(sqlite3.connect(template)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "migrate", copy_or_migrate)
        yield


class Statements(UserDict[Any, Any]):
    """Compiled statements of engines of one kind: SQLAlchemy's own keys begin with the engine's dialect."""

    def __contains__(self, key: Any) -> bool:
        return (type(key[0]), *key[1:]) in self.data

    def __getitem__(self, key: Any) -> Any:
        return self.data[type(key[0]), *key[1:]]

    def __setitem__(self, key: Any, compiled: Any) -> None:
        self.data[type(key[0]), *key[1:]] = compiled


@pytest.fixture(scope="session", autouse=True)
def no_authorities() -> Iterator[None]:
    """Also for clients that do not look at the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def statements_compiled_once() -> Iterator[None]:
    """Each engine would compile its statements again: half the work of a test that opens a storage of its own."""
    create, options = connections.create_engine, {"compiled_cache": Statements()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            connections, "create_engine", lambda *args, **more: create(*args, execution_options=options, **more)
        )
        yield
