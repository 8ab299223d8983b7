"""Easel with real storage, dispatcher and outbox on a loopback Discord; only the engines are fakes."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from adapters.cli.ports import LoadedConfig
from adapters.discord import DiscordSettings
from adapters.discord.adapter import DiscordAdapter
from bot.errors import UnsupportedMedia
from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ModelRegistry, ModelSpec
from bot.ports import Person, RenderedImage, SanitizedImage
from bot.queue.pricing import Rates
from bot.runtime.shutdown import cancel_tasks
from bot.safety import SafetySettings
from bot.settings import read_secrets
from bot.settings.core import ImagesSettings, QueueSettings, QuotaSettings, RetentionSettings, SearchSettings
from bot.usecases import AdapterContext
from composition.application import Application, wire_application
from composition.settings import ROOT
from storage import Storage, StorageSettings, open_storage
from tests.discord.loopback.server import Loopback
from tests.in_process_tools import InProcessTools
from tests.moderation import SOME_WEIGHTS
from tests.web.conftest import STYLES
from tests.web.fake_pool import TestPool

MODELS = (
    ModelSpec(
        name="paint", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo="paint", steps=3, max_steps=200, width=64, height=64,
        max_size=128, samplers=("euler",), sampler="euler", step_s=0.01,
        controls={kind: f"paint-{kind}" for kind in ("canny", "depth", "style", "subject")},
    ),
    ModelSpec(name="look", tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING), repo="look", step_s=0.01),
)  # fmt: skip


class InProcessImages(InProcessTools):
    """What the pictures' child process does, without the process."""

    async def sanitize(self, data: bytes, *, owner: str) -> SanitizedImage:
        try:
            image = Image.open(io.BytesIO(data)).convert("RGB")
        except UnidentifiedImageError as error:
            raise UnsupportedMedia("not_a_picture") from error
        return SanitizedImage(media=_encoded(image, "PNG"), width=image.width, height=image.height, parameters=None)

    async def fit_bytes(self, media: Media, max_bytes: int) -> Media:
        image = Image.open(io.BytesIO(media.data)).convert("RGB")
        while len(made := _encoded(image, "JPEG").data) > max_bytes:
            image = image.resize((max(1, image.width // 2), max(1, image.height // 2)))
        return Media(made, "image/jpeg")

    async def convert(self, media: Media, image_format: str, quality: int = 0) -> Media:
        return _encoded(Image.open(io.BytesIO(media.data)).convert("RGB"), image_format.upper())

    async def contact_sheet(self, pictures: Any) -> Media:
        return pictures[0]

    async def make_thumbnail(self, media: Media, max_width: int, *, owner: str) -> Media:
        raise NotImplementedError

    async def is_empty_mask(self, media: Media) -> bool:
        return False

    async def resize(self, media: Media, width: int, height: int) -> RenderedImage:
        larger = Image.open(io.BytesIO(media.data)).resize((width, height))
        return RenderedImage(media=_encoded(larger, "PNG"), width=width, height=height, parameters="")


def _encoded(image: Image.Image, kind: str) -> Media:
    made = io.BytesIO()
    image.save(made, kind)
    return Media(made.getvalue(), f"image/{kind.lower()}")


@dataclass
class DiscordApp:
    """`announcements`: what the owner's terminal read."""

    server: Loopback
    application: Application
    discord: DiscordAdapter
    pool: Any
    storage: Storage
    announcements: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def start(self) -> None:
        runs = (self.application.dispatcher.run_forever, self.application.deliverer.run_forever, self.discord.serve)
        self.tasks = [asyncio.create_task(run()) for run in runs]

    async def kill(self) -> None:
        """At once, without drain or good-bye."""
        await cancel_tasks(self.tasks)
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks = []

    async def wait_until_ready(self) -> None:
        """Connected, and Discord knows the commands."""
        from tests.discord.simulated_users import until

        client = self.discord.context
        await until(lambda: client.client is not None and client.client.is_ready(), "a connection")
        if self.discord._settings.sync_commands:
            await until(lambda: self.server.state.commands, "the commands")

    async def person(self, account_id: int) -> Person:
        return await self.application.usecases.people.identify_account("discord", str(account_id), "x")


class QuickDiscord(DiscordAdapter):
    first_wait_s = 0.05
    switch_wait_s = 0.0
    refused_wait_s = 0.1


def load_settings(data_dir: Path, models: tuple[ModelSpec, ...] = MODELS, **settings: Any) -> LoadedConfig:
    made = {
        "queue": QueueSettings(max_outstanding=1000, max_running=50),
        "quota": QuotaSettings(daily_device_seconds=1e6),
        "images": ImagesSettings(),
        "retention": RetentionSettings(),
        "search": SearchSettings(),
        "storage": StorageSettings(min_free_mb=0),
        "safety": SafetySettings(policy="allow", classifier=SOME_WEIGHTS),
        "styles": STYLES,
    }
    return LoadedConfig(
        settings={**made, **settings},
        secrets=read_secrets({}, data_dir),
        data_dir=data_dir,
        models=ModelRegistry({spec.name: spec for spec in models}),
        root=ROOT,
    )


@contextlib.asynccontextmanager
async def open_app(
    data_dir: Path,
    server: Loopback,
    *,
    slots: int = 4,
    token: str = "a-bot-token",
    with_models: Any = MODELS,
    safety: SafetySettings | None = None,
    **settings: Any,
) -> AsyncIterator[DiscordApp]:
    """Not yet started."""
    loaded = load_settings(data_dir, with_models, **({"safety": safety} if safety else {}))
    announcements: list[str] = []
    secrets = {"DISCORD_TOKEN": token}
    async with open_storage(loaded.settings["storage"], data_dir) as storage:
        await storage.jobs.requeue_interrupted(max_interruptions=10)
        pool = TestPool([spec.name for spec in loaded.models.installed()], slots=slots)
        application = wire_application(
            loaded, storage, pool, InProcessImages(), Rates(), {}, secret="s", only_submitted=False
        )
        adapter_context = AdapterContext(
            usecases=application.usecases,
            data_dir=data_dir,
            secret="s",
            announce=announcements.append,
            publish_address=lambda _url: None,
            inbox=storage.inbox,
            read_secret=secrets.__getitem__,
        )
        given = {"api_base": server.api_base, **settings}
        discord = QuickDiscord(DiscordSettings(**given), adapter_context)
        discord.context.now = server.state.now
        application.deliverer.connect([discord])
        app = DiscordApp(server, application, discord, pool, storage, announcements, secrets)
        try:
            yield app
        finally:
            await app.kill()
