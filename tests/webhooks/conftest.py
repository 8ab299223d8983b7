"""A served Easel with a webhook on loopback, and the receiver behind it."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from adapters.webhooks.settings import WebhookSettings
from bot.settings.core import QueueSettings
from storage import StorageSettings, open_storage
from tests.application_fixture import make_config, open_test_application
from tests.images_in_process import InProcessImages
from tests.model_manager_fixture import FOX
from tests.web.conftest import MODELS, ServedEasel, open_client
from tests.web.fake_pool import TestPool
from tests.webhooks.receiver import Receiver, receiving

SECRET = "0123456789abcdef-quite-secret"


@dataclass
class Studio:
    """A server whose events go to `receiver`."""

    easel: ServedEasel
    receiver: Receiver
    client: httpx2.AsyncClient


@asynccontextmanager
async def open_studio(data_dir: Path, receiver: Receiver, url: str = "") -> AsyncIterator[Studio]:
    webhooks = {"studio": WebhookSettings(url=url or receiver.url, secret=SECRET)}
    queue = QueueSettings(max_outstanding=20)
    loaded = make_config(data_dir, (*MODELS, FOX), queue=queue, webhooks=webhooks)
    pool = TestPool([spec.name for spec in MODELS])
    async with AsyncExitStack() as stack:
        images = await stack.enter_async_context(InProcessImages())
        application = await stack.enter_async_context(open_test_application(loaded, pool, images, drain_s=1.0))
        delivering = asyncio.create_task(application.deliverer.run_forever())
        easel = ServedEasel(application=application, pool=pool, data_dir=data_dir)
        await easel.serve()
        try:
            async with open_client(easel) as client:
                yield Studio(easel, receiver, client)
        finally:
            await easel.stop()
            delivering.cancel()
            with suppress(asyncio.CancelledError):
                await delivering


@pytest.fixture(scope="session")
def upgraded_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with an up-to-date database."""
    data_dir = tmp_path_factory.mktemp("upgraded")

    async def upgrade() -> None:
        async with open_storage(StorageSettings(min_free_mb=0), data_dir):
            pass

    asyncio.run(upgrade())
    return data_dir


@pytest.fixture
def data_dir(tmp_path: Path, upgraded_data: Path) -> Path:
    shutil.copytree(upgraded_data, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest_asyncio.fixture(loop_scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def studio(tmp_path_factory: pytest.TempPathFactory, upgraded_data: Path) -> AsyncIterator[Studio]:
    """One for all tests of a module, which create no key."""
    data_dir = tmp_path_factory.mktemp("studio")
    shutil.copytree(upgraded_data, data_dir, dirs_exist_ok=True)
    async with receiving() as receiver, open_studio(data_dir, receiver) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def own_studio(data_dir: Path, receiver: Receiver) -> AsyncIterator[Studio]:
    async with open_studio(data_dir, receiver) as opened:
        yield opened
