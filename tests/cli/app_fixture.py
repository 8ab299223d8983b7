"""A composition whose engines are made up: the storage, the dispatcher and the server are real."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image, UnidentifiedImageError

from adapters.cli import Loaded
from adapters.web import Web, WebSettings
from bot.errors import StartupError, UnsupportedMedia
from bot.jobs import Media
from bot.models import (
    IMAGE_TO_IMAGE,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ZERO_SHOT_IMAGE_CLASSIFICATION,
    Models,
    ModelSpec,
)
from bot.ports import CleanPicture, DeviceStatus, Maintenance, Rendered
from bot.queue.dispatcher import Dispatcher
from bot.queue.postprocess import Finishing
from bot.queue.pricing import Rates
from bot.queue.progress import Events
from bot.runtime.lock import DataLock
from bot.runtime.logs import LogsSettings
from bot.settings import Secrets
from bot.settings.core import ImagesSettings, QueueSettings, QuotaSettings
from bot.usecases import (
    JobUseCases,
    Moderation,
    PeopleUseCases,
    Surroundings,
    UseCases,
)
from composition import usecases as build
from storage import Restored, Storage, StorageSettings, open_storage, restore
from tests.model_manager_fixture import FOX, choosing_of
from tests.moderation import moderation_of
from tests.web.fake_pool import TestPool

MODELS = (
    ModelSpec(
        name="paint", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo="paint", steps=3, width=64, height=64, max_size=128,
        demo=True, samplers=("euler",),
    ),
    ModelSpec(name="look", tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING), repo="look", step_s=0.01),
    ModelSpec(name="judge", tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,), repo="judge", step_s=0.01),
)  # fmt: skip
CPU = {"devices": [{"name": "cpu", "kind": "cpu", "title": "CPU", "memory_mb": 16000}]}


class QuickPictures:
    """Cleans in this process."""

    async def clean(self, data: bytes) -> CleanPicture:
        try:
            picture = Image.open(BytesIO(data))
            made = BytesIO()
            picture.save(made, "PNG")
        except UnidentifiedImageError as error:
            raise UnsupportedMedia("not_a_picture") from error
        return CleanPicture(
            media=Media(made.getvalue(), "image/png"), width=picture.width, height=picture.height, parameters=None
        )

    async def shrink(self, media: Media, max_bytes: int) -> Media:
        raise NotImplementedError

    async def grid(self, pictures: Sequence[Media]) -> Media:
        raise NotImplementedError

    async def enlarge(self, media: Media, width: int, height: int) -> Rendered:
        made = BytesIO()
        Image.open(BytesIO(media.data)).resize((width, height)).save(made, "PNG")
        return Rendered(media=Media(made.getvalue(), "image/png"), width=width, height=height, parameters="")


def make_usecases(
    storage: Storage, pool: TestPool, dispatcher: Dispatcher, events: Events, models: Models, data_dir: Path
) -> UseCases:
    choosing = choosing_of(
        models=models,
        pool=pool,
        store=storage.jobs,
        learned=storage.learned,
        data_dir=data_dir,
        events=events,
        rates=dispatcher.rates,
        wake=dispatcher.wake,
        shipped={spec.name: spec for spec in (*MODELS, FOX)},
    )
    moderation = dispatcher.moderation
    assert isinstance(moderation, Moderation)
    jobs = JobUseCases(
        store=storage.jobs,
        history=storage.history,
        media=storage.media,
        people=storage.people,
        models=models,
        rates=dispatcher.rates,
        events=events,
        moderation=moderation,
        queue=QueueSettings(),
        quota=QuotaSettings(),
        wake=dispatcher.wake,
        interrupt=dispatcher.interrupt,
        devices=lambda: [DeviceStatus(device="cpu", state="ready")],
        secret=b"quotes",
    )
    loaded: Any = SimpleNamespace(models=models, settings={"images": ImagesSettings(), "styles": {}})
    return build.use_cases(loaded, storage, pool, QuickPictures(), jobs, moderation, choosing)


@asynccontextmanager
async def open_usecases(data_dir: Path, *, only_own: bool) -> AsyncIterator[UseCases]:
    """A working house; the lock is the caller's."""
    async with open_rooms(data_dir, only_own=only_own) as (usecases, _):
        yield usecases


@asynccontextmanager
async def open_rooms(data_dir: Path, *, only_own: bool) -> AsyncIterator[tuple[UseCases, Storage]]:
    models, events = Models({spec.name: spec for spec in (*MODELS, FOX)}), Events()
    pool = TestPool([spec.name for spec in MODELS])
    async with open_storage(StorageSettings(min_free_mb=0), data_dir) as storage:
        dispatcher = Dispatcher(
            store=storage.jobs,
            media=storage.media,
            learned=storage.learned,
            pool=pool,
            models=models,
            rates=Rates(),
            finishing=Finishing(media=storage.media, pool=pool, pictures=QuickPictures(), models=models),
            moderation=moderation_of(storage),
            events=events,
            settings=QueueSettings(),
            only_own=only_own,
        )
        working = asyncio.create_task(dispatcher.run())
        try:
            yield make_usecases(storage, pool, dispatcher, events, models, data_dir), storage
        finally:
            await dispatcher.close(0)
            await working


@dataclass(frozen=True)
class OpenChores:
    people: PeopleUseCases
    maintenance: Maintenance


@dataclass
class TestComposition:
    """`failures["load"]` is raised by the next `load`, and so on."""

    __test__ = False

    data_dir: Path
    settings: dict[str, Any] = field(default_factory=dict)
    secrets: Secrets = field(default_factory=Secrets)
    failures: dict[str, BaseException] = field(default_factory=dict)
    devices: Mapping[str, Any] = field(default_factory=lambda: CPU)
    configs: list[Path | None] = field(default_factory=list)

    def load(self, config: Path | None) -> Loaded:
        self._fail("load")
        self.configs.append(config)
        plain = {"web": WebSettings(port=0), "images": ImagesSettings(), "logs": LogsSettings()}
        return Loaded(
            settings={**plain, "storage": StorageSettings(min_free_mb=0), **self.settings},
            secrets=self.secrets,
            data_dir=self.data_dir,
            models=Models({spec.name: spec for spec in MODELS}),
            root=self.data_dir,
        )

    async def serve(self, loaded: Loaded) -> int:
        self._fail("serve")
        return 0

    @asynccontextmanager
    async def open_application(self, loaded: Loaded, only_own: bool = True) -> AsyncIterator[UseCases]:
        self._fail("open_application")
        with DataLock(self.data_dir):
            async with open_usecases(self.data_dir, only_own=only_own) as usecases:
                yield usecases

    @asynccontextmanager
    async def open_storage_only(self, loaded: Loaded) -> AsyncIterator[OpenChores]:
        with DataLock(self.data_dir):
            async with open_storage(StorageSettings(min_free_mb=0), self.data_dir) as storage:
                people = PeopleUseCases(storage.people, storage.ledger, storage.privacy, loaded.models)
                yield OpenChores(people, storage.maintenance)

    async def restore_database(self, loaded: Loaded, source: Path) -> Restored:
        with DataLock(self.data_dir):
            return restore(loaded.settings["storage"].url, self.data_dir, source, busy_timeout_ms=200)

    def probe_devices(self) -> Mapping[str, Any]:
        self._fail("probe_devices")
        return self.devices

    def _fail(self, name: str) -> None:
        if name in self.failures:
            raise self.failures[name]


@contextmanager
def serving(data_dir: Path) -> Iterator[str]:
    """A server that holds the lock, in a thread of its own; its address."""
    ready, stop = threading.Event(), threading.Event()
    urls: list[str] = []

    async def serve() -> None:
        with DataLock(data_dir) as lock:
            async with open_rooms(data_dir, only_own=False) as (usecases, storage):

                def publish(url: str) -> None:
                    lock.publish(url)
                    urls.append(url)
                    ready.set()

                surroundings = Surroundings(
                    usecases=usecases,
                    data_dir=data_dir,
                    secret=lock.secret,
                    announce=lambda _line: None,
                    publish=publish,
                    inbox=storage.inbox,
                    secret_of=lambda _variable: "",
                )
                web = asyncio.create_task(Web(WebSettings(port=0), surroundings).run())
                await asyncio.to_thread(stop.wait)
                web.cancel()
                await asyncio.wait([web])

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        if not ready.wait(20):
            raise StartupError("the server did not start")
        yield urls[0]
    finally:
        stop.set()
        thread.join(20)
