"""A house with real storage and a real dispatcher, served on loopback; only the engines are made up."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import pytest_asyncio
import structlog

from adapters.web import Web, WebSettings
from bot.errors import StartupError
from bot.models import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, Models, ModelSpec
from bot.ports import DeviceStatus
from bot.prompts.resolver import Wording
from bot.prompts.styles import StyleSettings
from bot.prompts.wildcards import WildcardFolder
from bot.queue.dispatcher import Dispatcher
from bot.queue.postprocess import Finishing
from bot.queue.pricing import Rates
from bot.queue.progress import Events
from bot.settings.core import ImagesSettings, QueueSettings, QuotaSettings
from bot.usecases import (
    JobUseCases,
    Moderation,
    Surroundings,
    UseCases,
)
from composition import usecases as build
from inference.checkpoints.library import ModelFiles
from inference.images.service import PictureService
from inference.pool.pool import DevicePool, PoolSettings
from storage import Storage, StorageSettings, open_storage
from tests.model_manager_fixture import FOX, choosing_of
from tests.moderation import moderation_of
from tests.web.fake_pool import TestPool, picture

SECRET = "the-local-secret"
STYLES = {"ink": StyleSettings(prompt="ink drawing of {prompt}", negative="colour")}
MODELS = (
    ModelSpec(
        name="paint", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo="paint", steps=5, max_steps=50, width=64, height=64,
        max_size=128, samplers=("euler", "ddim"), sampler="euler", step_s=0.1,
    ),
    ModelSpec(name="look", tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING), repo="look", step_s=0.01),
    ModelSpec(name="demo", tasks=(TEXT_TO_IMAGE,), repo="demo", demo=True, width=64, height=64),
)  # fmt: skip


@dataclass(kw_only=True)
class TestHouse:
    """Everything behind the web adapter, and the adapter's own address once it is served."""

    __test__ = False

    storage: Storage
    pool: TestPool
    events: Events
    usecases: UseCases
    data_dir: Path
    url: str = ""
    said: list[str] = field(default_factory=list)
    serving: asyncio.Task[None] | None = None

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(
            usecases=self.usecases,
            data_dir=self.data_dir,
            secret=SECRET,
            announce=self.said.append,
            publish=self._publish,
            inbox=self.storage.inbox,
            secret_of=lambda _variable: "",
        )

    def _publish(self, url: str) -> None:
        self.url = url

    async def serve(self, **settings: object) -> str:
        """Start the adapter; returns its address."""
        self.url = ""
        web = Web(WebSettings(**{"port": 0, **settings}), self.surroundings)  # type: ignore[arg-type]
        self.serving = asyncio.create_task(web.run())
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


def build_usecases(
    storage: Storage,
    pool: TestPool,
    pictures: PictureService,
    events: Events,
    dispatcher: Dispatcher,
    models: Models,
    rates: Rates,
    moderation: Moderation,
    data_dir: Path,
) -> UseCases:
    choosing = choosing_of(
        models=models,
        pool=pool,
        store=storage.jobs,
        learned=storage.learned,
        data_dir=data_dir,
        events=events,
        rates=rates,
        wake=dispatcher.wake,
        shipped={spec.name: spec for spec in (*MODELS, FOX)},
    )
    jobs = JobUseCases(
        store=storage.jobs,
        history=storage.history,
        media=storage.media,
        people=storage.people,
        models=models,
        rates=rates,
        events=events,
        moderation=moderation,
        queue=QueueSettings(max_outstanding=20),
        quota=QuotaSettings(daily_device_seconds=5.0),
        wake=dispatcher.wake,
        interrupt=dispatcher.interrupt,
        devices=lambda: [DeviceStatus(device="cpu", state="ready")],
        secret=b"quotes",
        wording=dispatcher.wording,
    )
    loaded: Any = SimpleNamespace(models=models, settings={"images": ImagesSettings(), "styles": STYLES})
    return build.use_cases(loaded, storage, pool, pictures, jobs, moderation, choosing)


@asynccontextmanager
async def opened_house(data_dir: Path, *, has_children: bool = False, **safety: Any) -> AsyncIterator[TestHouse]:
    """Not yet served: `serve` does that. `has_children`: the engines run in the real pool's child process."""
    models = Models({spec.name: spec for spec in (*MODELS, FOX)})
    events, rates = Events(), Rates()
    async with AsyncExitStack() as stack:
        storage = await stack.enter_async_context(open_storage(StorageSettings(min_free_mb=0), data_dir))
        pictures = await stack.enter_async_context(PictureService())
        pool: Any = TestPool([spec.name for spec in MODELS])
        if has_children:
            made = DevicePool(PoolSettings(), ["cpu"], MODELS, pictures, engines="tests.inference.engines:build")
            pool = await stack.enter_async_context(made)
        moderation = moderation_of(storage, **safety)
        dispatcher = Dispatcher(
            store=storage.jobs,
            media=storage.media,
            learned=storage.learned,
            pool=pool,
            models=models,
            rates=rates,
            finishing=Finishing(media=storage.media, pool=pool, pictures=pictures, models=models),
            moderation=moderation,
            events=events,
            settings=QueueSettings(),
            wording=Wording(
                styles=STYLES,
                wildcards=WildcardFolder(data_dir / "wildcards"),
                additions=ModelFiles(data_dir).additions,
            ),
        )
        usecases = build_usecases(storage, pool, pictures, events, dispatcher, models, rates, moderation, data_dir)
        house = TestHouse(storage=storage, pool=pool, events=events, usecases=usecases, data_dir=data_dir)
        working = asyncio.create_task(dispatcher.run())
        yield house
        await house.stop()
        await dispatcher.close(1.0)
        await working


def client_of(house: TestHouse) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=house.url, timeout=10, trust_env=False)


@pytest.fixture(autouse=True)
def plain_log() -> Iterator[None]:
    """structlog's own default draws every local of a traceback, which takes seconds."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


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
async def house(tmp_path: Path, empty_data: Path) -> AsyncIterator[TestHouse]:
    shutil.copytree(empty_data, tmp_path, dirs_exist_ok=True)
    async with opened_house(tmp_path) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def server(house: TestHouse) -> TestHouse:
    await house.serve()
    return house


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: TestHouse) -> AsyncIterator[httpx2.AsyncClient]:
    """The local person: no key exists."""
    async with client_of(server) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestHouse]:
    """One server for all of a module's tests that leave nothing behind."""
    async with opened_house(tmp_path_factory.mktemp("house")) as made:
        await made.serve()
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing_client(standing_server: TestHouse) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(standing_server) as made:
        yield made


@pytest.fixture
def a_picture() -> bytes:
    return picture(3, 48, 32)
