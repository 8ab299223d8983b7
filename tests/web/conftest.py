"""An application with real storage and a real dispatcher, served on loopback; only the engines are fake."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
import structlog

from adapters.registry import load_mounts
from adapters.web import Web, WebSettings
from bot.errors import StartupError
from bot.models import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.plugins.plugin_manager import PluginManager
from bot.prompts.styles import StyleSettings
from bot.safety import SafetySettings
from bot.settings.core import QueueSettings, QuotaSettings
from bot.usecases import AdapterContext, UseCases
from composition.application import Application
from inference.images.service import ImageService
from inference.pool.pool import DevicePool, PoolSettings
from storage import Storage, StorageSettings, open_storage
from tests.application_fixture import make_config, open_test_application
from tests.images_in_process import InProcessImages
from tests.model_manager_fixture import FOX
from tests.moderation import SOME_WEIGHTS
from tests.web.fake_pool import TestPool, picture

SECRET = "the-local-secret"
STYLES = {"ink": StyleSettings(prompt="ink drawing of {prompt}", negative="colour")}
MODELS = (
    ModelSpec(
        name="paint", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo="paint", steps=5, max_steps=50, width=64, height=64,
        max_size=128, samplers=("euler", "ddim"), sampler="euler", step_s=0.1,
        controls={"canny": "paint-canny", "style": "paint-style"},
    ),
    ModelSpec(name="look", tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING), repo="look", step_s=0.01),
    ModelSpec(name="demo", tasks=(TEXT_TO_IMAGE,), repo="demo", demo=True, width=64, height=64),
)  # fmt: skip


@dataclass(kw_only=True)
class ServedEasel:
    """An application behind the web adapter, and the adapter's address once it is served."""

    application: Application
    pool: TestPool
    data_dir: Path
    url: str = ""
    announced: list[str] = field(default_factory=list)
    serving: asyncio.Task[None] | None = None

    @property
    def usecases(self) -> UseCases:
        return self.application.usecases

    @property
    def storage(self) -> Storage:
        return self.application.storage

    @property
    def adapter_context(self) -> AdapterContext:
        return AdapterContext(
            usecases=self.usecases,
            data_dir=self.data_dir,
            secret=SECRET,
            announce=self.announced.append,
            publish_address=self._set_url,
            inbox=self.storage.inbox,
            read_secret=lambda _variable: "",
        )

    def _set_url(self, url: str) -> None:
        self.url = url

    async def serve(self, **settings: object) -> str:
        """Start the adapter; returns its address."""
        self.url = ""
        web = Web(WebSettings(**{"port": 0, **settings}), self.adapter_context, load_mounts())  # type: ignore[arg-type]
        self.serving = asyncio.create_task(web.serve())
        while not self.url:
            if self.serving.done():
                self.serving.result()
            await asyncio.sleep(0.01)
        return self.url

    async def stop(self) -> None:
        if self.serving is not None:
            self.serving.cancel()
            with contextlib.suppress(asyncio.CancelledError, StartupError):
                await self.serving
            self.serving = None

    async def create_key(self, name: str | None = None) -> str:
        _, text = await self.usecases.people.create_key(name, is_admin=False)
        return text

    def is_followed(self, job_id: str) -> bool:
        return self.application.dispatcher.progress_bus.is_watched(job_id)


@asynccontextmanager
async def open_easel(
    data_dir: Path, *, has_workers: bool = False, plugins: PluginManager | None = None, **safety: Any
) -> AsyncIterator[ServedEasel]:
    """Not yet served: `serve` does that. `has_workers`: the engines run in the real pool's worker process."""
    loaded = make_config(
        data_dir,
        (*MODELS, FOX),
        queue=QueueSettings(max_outstanding=20),
        quota=QuotaSettings(daily_device_seconds=5.0),
        styles=STYLES,
        safety=SafetySettings(classifier=SOME_WEIGHTS, **safety),
    )
    async with AsyncExitStack() as stack:
        images = await stack.enter_async_context(ImageService() if has_workers else InProcessImages())
        pool: Any = TestPool([spec.name for spec in MODELS])
        if has_workers:
            engines = "tests.inference.engines:build"
            workers = DevicePool(PoolSettings(), ["cpu"], MODELS, images, engine_factory=engines, plugins=plugins)
            pool = await stack.enter_async_context(workers)
            if plugins is not None:
                plugins.on_switched = pool.refresh_plugins
        opened = open_test_application(loaded, pool, images, drain_s=1.0, plugins=plugins)
        application = await stack.enter_async_context(opened)
        easel = ServedEasel(application=application, pool=pool, data_dir=data_dir)
        yield easel
        await easel.stop()


def open_client(easel: ServedEasel) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=easel.url, timeout=30, trust_env=False)


@pytest.fixture(autouse=True)
def plain_log() -> Iterator[None]:
    """structlog's default renders every local variable of a traceback, which takes seconds."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def upgraded_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with an up-to-date database: copying it takes a hundredth of the time of creating it."""
    data_dir = tmp_path_factory.mktemp("upgraded")

    async def upgrade() -> None:
        async with open_storage(StorageSettings(min_free_mb=0), data_dir):
            pass

    asyncio.run(upgrade())
    return data_dir


@pytest_asyncio.fixture(loop_scope="module")
async def easel(tmp_path: Path, upgraded_data: Path) -> AsyncIterator[ServedEasel]:
    shutil.copytree(upgraded_data, tmp_path, dirs_exist_ok=True)
    async with open_easel(tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def server(easel: ServedEasel) -> ServedEasel:
    await easel.serve()
    return easel


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: ServedEasel) -> AsyncIterator[httpx2.AsyncClient]:
    """The local person: no key exists."""
    async with open_client(server) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_server(tmp_path_factory: pytest.TempPathFactory, upgraded_data: Path) -> AsyncIterator[ServedEasel]:
    """One server for all tests of a module that leave nothing behind."""
    data_dir = tmp_path_factory.mktemp("shared")
    shutil.copytree(upgraded_data, data_dir, dirs_exist_ok=True)
    async with open_easel(data_dir) as easel:
        await easel.serve()
        yield easel


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_client(shared_server: ServedEasel) -> AsyncIterator[httpx2.AsyncClient]:
    async with open_client(shared_server) as opened:
        yield opened


@pytest.fixture
def a_picture() -> bytes:
    return picture(3, 48, 32)
