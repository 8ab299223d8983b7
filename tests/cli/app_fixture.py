"""A composition with fake engines; the storage, the dispatcher and the server are real."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from adapters.cli import LoadedConfig
from adapters.web import Web, WebSettings
from bot.errors import StartupError, UnsupportedMedia
from bot.jobs import Media
from bot.models import (
    IMAGE_TO_IMAGE,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ZERO_SHOT_IMAGE_CLASSIFICATION,
    ModelSpec,
)
from bot.ports import RenderedImage, SanitizedImage
from bot.runtime.lock import DataLock
from bot.settings import Secrets
from bot.usecases import AdapterContext, UseCases
from composition.application import Application
from composition.local import Composition
from composition.plugins import build_plugins
from storage import StorageSettings
from tests.application_fixture import make_config, open_test_application
from tests.in_process_tools import InProcessTools
from tests.model_manager_fixture import FOX
from tests.web.fake_pool import TestPool

STORAGE = StorageSettings(min_free_mb=0, busy_timeout_ms=200)
MODELS = (
    ModelSpec(
        name="paint", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo="paint", steps=3, width=64, height=64, max_size=128,
        demo=True, samplers=("euler",), controls={"canny": "paint-canny", "style": "paint-style"},
    ),
    ModelSpec(name="look", tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING), repo="look", step_s=0.01),
    ModelSpec(name="judge", tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,), repo="judge", step_s=0.01),
)  # fmt: skip
CONFINED = dict.fromkeys(("no_new_privs", "landlock", "capabilities", "limits", "seccomp"), "")
CPU = {"devices": [{"name": "cpu", "kind": "cpu", "title": "CPU", "memory_mb": 16000}]}


class InProcessImages(InProcessTools):
    """Processes images in this process instead of a worker."""

    async def sanitize(self, data: bytes, *, owner: str) -> SanitizedImage:
        try:
            picture = Image.open(BytesIO(data))
            encoded = BytesIO()
            picture.save(encoded, "PNG")
        except UnidentifiedImageError as error:
            raise UnsupportedMedia("not_a_picture") from error
        return SanitizedImage(
            media=Media(encoded.getvalue(), "image/png"), width=picture.width, height=picture.height, parameters=None
        )

    async def fit_bytes(self, media: Media, max_bytes: int) -> Media:
        raise NotImplementedError

    async def convert(self, media: Media, image_format: str, quality: int = 0) -> Media:
        raise NotImplementedError

    async def contact_sheet(self, pictures: Sequence[Media]) -> Media:
        raise NotImplementedError

    async def make_thumbnail(self, media: Media, max_width: int, *, owner: str) -> Media:
        raise NotImplementedError

    async def is_empty_mask(self, media: Media) -> bool:
        return False

    async def resize(self, media: Media, width: int, height: int) -> RenderedImage:
        encoded = BytesIO()
        Image.open(BytesIO(media.data)).resize((width, height)).save(encoded, "PNG")
        return RenderedImage(media=Media(encoded.getvalue(), "image/png"), width=width, height=height, parameters="")


@asynccontextmanager
async def open_easel(data_dir: Path, *, only_submitted: bool, **settings: Any) -> AsyncIterator[Application]:
    """A working application; the data lock is the caller's."""
    loaded = make_config(data_dir, (*MODELS, FOX), **{"storage": STORAGE, **settings})
    pool = TestPool([spec.name for spec in MODELS])
    async with (
        build_plugins(loaded) as plugins,
        open_test_application(
            loaded, pool, InProcessImages(), only_submitted=only_submitted, plugins=plugins
        ) as application,
    ):
        yield application


@dataclass
class TestComposition(Composition):
    """`failures["load"]` is raised by the next `load`, and so on."""

    __test__ = False

    data_dir: Path
    settings: dict[str, Any] = field(default_factory=dict)
    secrets: Secrets = field(default_factory=Secrets)
    failures: dict[str, BaseException] = field(default_factory=dict)
    devices: Mapping[str, Any] = field(default_factory=lambda: CPU)
    sandbox: Mapping[str, str] = field(default_factory=lambda: CONFINED)
    configs: list[Path | None] = field(default_factory=list)

    def load(self, config: Path | None) -> LoadedConfig:
        self._raise_failure("load")
        self.configs.append(config)
        loaded = make_config(self.data_dir, MODELS, **{"storage": STORAGE, **self.settings})
        return replace(loaded, secrets=self.secrets)

    async def serve(self, loaded: LoadedConfig) -> int:
        self._raise_failure("serve")
        return 0

    @asynccontextmanager
    async def open_application(self, loaded: LoadedConfig, only_submitted: bool = True) -> AsyncIterator[UseCases]:
        self._raise_failure("open_application")
        with DataLock(self.data_dir):
            async with open_easel(self.data_dir, only_submitted=only_submitted, **self.settings) as application:
                yield application.usecases

    def probe_devices(self) -> Mapping[str, Any]:
        self._raise_failure("probe_devices")
        return self.devices

    def probe_sandbox(self) -> Mapping[str, str]:
        self._raise_failure("probe_sandbox")
        return self.sandbox

    def _raise_failure(self, name: str) -> None:
        if name in self.failures:
            raise self.failures[name]


@contextmanager
def serving(data_dir: Path) -> Iterator[str]:
    """A server that holds the lock, in its own thread; yields its URL."""
    ready, stop = threading.Event(), threading.Event()
    urls: list[str] = []

    async def serve() -> None:
        with DataLock(data_dir) as lock:
            async with open_easel(data_dir, only_submitted=False) as application:

                def publish(url: str) -> None:
                    lock.publish_url(url)
                    urls.append(url)
                    ready.set()

                context = AdapterContext(
                    usecases=application.usecases,
                    data_dir=data_dir,
                    secret=lock.secret,
                    announce=lambda _line: None,
                    publish_address=publish,
                    inbox=application.storage.inbox,
                    read_secret=lambda _variable: "",
                )
                web = asyncio.create_task(Web(WebSettings(port=0), context).serve())
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
