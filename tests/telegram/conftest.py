"""One app for the tests of a module: they meet in chats of their own, so none disturbs another."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from storage import StorageSettings, open_storage
from tests.telegram.easel_fixture import SCALE, TelegramApp, build_app
from tests.telegram.server import BotServer, run_bot_server
from tests.telegram.telegram_server_state import Message


@pytest.fixture(autouse=True, scope="session")
def own_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The lock of a token lies in the runtime directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("locks")))
        yield


@pytest.fixture(autouse=True, scope="session")
def short_retries() -> Iterator[None]:
    """What waits between tries waits less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bot.queue.delivery.back_off_s", lambda _tries: 0.1)
        patch.setattr("adapters.telegram.polling.backoff_s", lambda _tries: 0.1)
        patch.setattr("adapters.telegram.adapter.backoff_s", lambda _tries: 0.1)
        patch.setattr("adapters.telegram.responder.MIN_RETRY_S", 0.1)
        yield


@pytest.fixture(autouse=True)
def plain_log() -> Iterator[None]:
    """structlog's own default draws every local of a traceback, which takes seconds."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TelegramApp]:
    async with run_bot_server(scale=SCALE) as server, build_app(tmp_path_factory.mktemp("app"), server) as made:
        await made.open()
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def app(shared_app: TelegramApp) -> AsyncIterator[TelegramApp]:
    """Everything that the adapter sent must have been as the Bot API wants it, and not too often."""
    shared_app.pool.go_on.clear()
    yield shared_app
    shared_app.pool.go_on.set()
    shared_app.server.faults.clear()
    shared_app.server.is_slow_s = 0.0
    assert shared_app.server.problems == []
    assert shared_app.server.flood_limits.refused == []


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[BotServer]:
    """A server alone, for towns that a test builds itself."""
    async with run_bot_server(scale=SCALE) as made:
        yield made
        assert made.problems == []


@pytest.fixture(scope="session")
def empty_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with its tables made: copying it takes a hundredth of making it."""
    data_dir = tmp_path_factory.mktemp("empty")

    async def make() -> None:
        async with open_storage(StorageSettings(min_free_mb=0), data_dir):
            pass

    asyncio.run(make())
    return data_dir


@pytest_asyncio.fixture(loop_scope="module")
async def own_app(tmp_path: Path, empty_data: Path, server: BotServer) -> AsyncIterator[TelegramApp]:
    """A app that a test may break. Its adapter is not open yet."""
    shutil.copytree(empty_data, tmp_path, dirs_exist_ok=True)
    async with build_app(tmp_path, server) as made:
        yield made


@pytest.fixture
def ann(app: TelegramApp) -> Message:
    return app.state.person("Ann")


@pytest.fixture
def bob(app: TelegramApp) -> Message:
    return app.state.person("Bob")


@pytest.fixture
def chat(app: TelegramApp, ann: Message) -> Message:
    """Ann's private chat with the bot."""
    return app.state.private(ann)


@pytest.fixture
def group(app: TelegramApp) -> Message:
    return app.state.group()
