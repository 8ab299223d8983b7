"""A loopback Discord, Easel on it, and a few people."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from discord.gateway import KeepAliveHandler

import adapters.discord.context
from adapters.discord.client import EaselClient
from adapters.discord.rate_limit import RateLimiter
from storage import StorageSettings, open_storage
from tests.discord.app_fixture import DiscordApp, open_app
from tests.discord.loopback.server import Loopback, loopback
from tests.discord.simulated_users import SimulatedUser


@pytest.fixture(autouse=True)
def plain_log() -> Iterator[None]:
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def no_heartbeat_left() -> Iterator[None]:
    """A thread that beats on for a loop that is gone would fail a test of somebody else's."""
    yield
    assert [one for one in threading.enumerate() if isinstance(one, KeepAliveHandler)] == []


@pytest.fixture(autouse=True)
def short_waits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Discord wants 5 seconds between sessions, and little said in one channel; only `real_pace` is about that."""
    monkeypatch.setattr(EaselClient, "identify_wait_s", 0.01)
    monkeypatch.setattr(EaselClient, "guilds_wait_s", 0.05)
    if "real_pace" not in request.fixturenames:
        monkeypatch.setattr(RateLimiter, "writes", 40)
        monkeypatch.setattr(RateLimiter, "window_s", 0.6)
        monkeypatch.setattr(adapters.discord.context, "PROGRESS_INTERVAL_S", 0.2)


@pytest.fixture
def real_pace(server: Loopback) -> None:
    """Discord's own limits, and ours below them."""
    server.rest.limits.is_lenient = False


@pytest.fixture(scope="session")
def empty_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with its tables made: copying it takes a hundredth of making it."""
    data_dir = tmp_path_factory.mktemp("empty")

    async def make() -> None:
        async with open_storage(StorageSettings(min_free_mb=0), data_dir):
            pass

    asyncio.run(make())
    return data_dir


@pytest.fixture
def data_dir(tmp_path: Path, empty_data: Path) -> Path:
    shutil.copytree(empty_data, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
async def server() -> AsyncIterator[Loopback]:
    """Whatever the adapter sent must have been what Discord takes, and no faster than it takes it."""
    async with loopback() as running:
        running.state.guild()
        running.rest.limits.is_lenient = True
        yield running
    assert sorted(set(running.state.problems)) == []
    assert running.rest.limits.refused == []


@pytest.fixture
async def app(data_dir: Path, server: Loopback) -> AsyncIterator[DiscordApp]:
    async with open_app(data_dir, server) as made:
        made.start()
        await made.wait_until_ready()
        yield made


@pytest.fixture
def ann(server: Loopback) -> SimulatedUser:
    """Somebody in a channel of a server that has the bot."""
    return SimulatedUser(server, server.state.person("ann"), server.state.channel())


@pytest.fixture
def bob(server: Loopback, ann: SimulatedUser) -> SimulatedUser:
    """Somebody else in the same channel."""
    return SimulatedUser(server, server.state.person("bob"), ann.channel)
