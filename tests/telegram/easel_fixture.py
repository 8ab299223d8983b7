"""A whole Easel with its Telegram adapter, talking to a loopback Bot API server. Only the engines are made up."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.cli.ports import LoadedConfig
from adapters.telegram.adapter import TOKEN_VARIABLE, WEBHOOK_SECRET_VARIABLE, TelegramAdapter
from adapters.telegram.rate_limit import RateLimit, RateLimits
from adapters.telegram.settings import TelegramSettings
from bot.models import TASKS, ModelRegistry, ModelSpec
from bot.queue.pricing import Rates as Prices
from bot.safety import SafetySettings
from bot.settings import read_secrets
from bot.settings.core import ImagesSettings, QueueSettings, QuotaSettings, RetentionSettings, SearchSettings
from bot.usecases import AdapterContext
from composition.application import Application, wire_application
from composition.settings import ROOT
from storage import Storage, StorageSettings, open_storage
from tests.images_in_process import InProcessImages
from tests.moderation import SOME_WEIGHTS
from tests.telegram.fake_pool import ChatPool
from tests.telegram.server import BotServer
from tests.telegram.telegram_server_state import Message, TelegramServerState

SCALE = 0.05
"""A minute of Telegram's limits lasts three seconds here."""
RATES = RateLimits(
    chat=RateLimit(2, 3.2 * SCALE + 0.2),
    group=RateLimit(19, 62 * SCALE + 0.2),
    overall=RateLimit(27, 1.1 * SCALE + 0.05),
    progress_s=3 * SCALE,
    group_progress_s=15 * SCALE,
)
ALBUM_S = 0.3
WITHIN_S = 60.0
"""Nothing waits so long but on a machine that has much else to do."""
MODELS = (
    ModelSpec(
        name="paint", tasks=TASKS, repo="paint", steps=5, max_steps=50, width=64, height=64, max_size=256,
        samplers=("euler", "ddim"), sampler="euler", step_s=0.1,
        max_images=4, controls={kind: f"paint-{kind}" for kind in ("canny", "depth", "style", "subject")},
    ),
)  # fmt: skip
SETTINGS: Mapping[str, Any] = {
    "queue": QueueSettings(max_outstanding=12),
    "quota": QuotaSettings(daily_device_seconds=0),
    "images": ImagesSettings(),
    "retention": RetentionSettings(),
    "search": SearchSettings(),
    "safety": SafetySettings(policy="allow", classifier=SOME_WEIGHTS),
    "styles": {},
}


@dataclass(kw_only=True)
class TelegramApp:
    """`adapter` is None while it is stopped. `application` is everything behind it."""

    server: BotServer
    storage: Storage
    pool: ChatPool
    application: Application
    data_dir: Path
    settings: TelegramSettings
    secrets: dict[str, str]
    rates: RateLimits = RATES
    announcements: list[str] = field(default_factory=list)
    adapter: TelegramAdapter | None = None
    serving: asyncio.Task[None] | None = None

    @property
    def state(self) -> TelegramServerState:
        return self.server.state

    @property
    def adapter_context(self) -> AdapterContext:
        return AdapterContext(
            usecases=self.application.usecases,
            data_dir=self.data_dir,
            secret="",
            announce=self.announcements.append,
            publish_address=lambda _url: None,
            inbox=self.storage.inbox,
            read_secret=lambda name: self.secrets.get(name, ""),
        )

    async def open(self, **settings: Any) -> None:
        """Start the adapter; returns when it is connected."""
        base = {"api_base": self.server.api_base, "file_base": self.server.file_base}
        self.settings = TelegramSettings(**{**base, **settings})
        self.adapter = TelegramAdapter(self.settings, self.adapter_context, rate_limits=self.rates, album_s=ALBUM_S)
        self.application.deliverer.connect([self.adapter])
        heard = len(self.announcements)
        self.serving = asyncio.create_task(self.adapter.serve())
        await self.until(lambda: len(self.announcements) > heard or self.serving.done())
        if self.serving.done():
            self.serving.result()

    async def close(self) -> None:
        """As at a kill: everything that the adapter was doing is dropped."""
        if self.serving is not None:
            self.serving.cancel()
            await asyncio.wait([self.serving])
        self.serving = self.adapter = None

    # ------------------------------------------------------------ looking

    async def until(self, holds: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
        """What it gives, once that is something."""
        began = time.monotonic()
        while not (found := holds()):
            assert time.monotonic() < began + within_s, "it did not come true"
            await asyncio.sleep(0.01)
        return found

    async def bot_message(self, chat: Mapping[str, Any], number: int = 1) -> Message:
        """The bot's message with this number in the chat, once it is there."""
        shown: list[Message] = await self.until(lambda: self.state.bot_messages(chat)[number - 1 :])
        return shown[0]

    async def finished_picture(self, chat: Mapping[str, Any], number: int = 1) -> Message:
        """The same, once it is a finished picture."""

        def finished() -> Message | None:
            shown = self.state.bot_messages(chat)[number - 1 :]
            return shown[0] if shown and "photo" in shown[0] and has_button(shown[0], "original") else None

        found: Message = await self.until(finished)
        return found

    async def message_with(self, chat: Mapping[str, Any], words: str, number: int = 1) -> Message:
        """The same, once its text or caption has these words."""

        def says() -> Message | None:
            shown = self.state.bot_messages(chat)[number - 1 :]
            return shown[0] if shown and words in text_of(shown[0]) else None

        found: Message = await self.until(says)
        return found

    async def callback_answer(self, query: str) -> dict[str, Any]:
        """What popped up after a press, once it did."""
        found: dict[str, Any] = await self.until(lambda: self.state.queries[query])
        return found

    async def wait_until_idle(self, seconds: float = 0.3) -> None:
        """Until every update is handled, and a little longer, to see that nothing more comes."""
        await self.until(lambda: not self.state.updates)
        while await self.storage.inbox.pending_events("telegram"):  # noqa: ASYNC110 - asked from outside
            await asyncio.sleep(0.01)
        await asyncio.sleep(seconds)

    async def imagine_and_wait(
        self, chat: Mapping[str, Any], person: Mapping[str, Any], words: str = "a fox"
    ) -> Message:
        """A finished picture in a chat."""
        already = len(self.state.bot_messages(chat))
        self.state.send_message(chat, person, f"/imagine {words}")
        return await self.finished_picture(chat, already + 1)


def text_of(message: Message) -> str:
    return str(message.get("text", message.get("caption", "")))


def has_button(message: Message, action: str) -> bool:
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return any(button.get("callback_data", "").split(":")[1:2] == [action] for row in rows for button in row)


@asynccontextmanager
async def build_app(
    data_dir: Path, server: BotServer, *, rates: RateLimits = RATES, slots: int = 8, **settings: Any
) -> AsyncIterator[TelegramApp]:
    """An app whose adapter is not open yet. `settings` are tables of the config that differ."""
    models = ModelRegistry({spec.name: spec for spec in MODELS})
    tables = {**SETTINGS, **settings}
    loaded = LoadedConfig(
        settings=tables, secrets=read_secrets({}, data_dir), data_dir=data_dir, models=models, root=ROOT
    )
    async with AsyncExitStack() as stack:
        storage = await stack.enter_async_context(open_storage(StorageSettings(min_free_mb=0), data_dir))
        pictures = await stack.enter_async_context(InProcessImages())
        pool: Any = ChatPool([spec.name for spec in MODELS], slots)
        application = wire_application(
            loaded, storage, pool, pictures, Prices(), {}, secret="secret", only_submitted=False
        )
        app = TelegramApp(
            server=server,
            storage=storage,
            pool=pool,
            application=application,
            data_dir=data_dir,
            settings=TelegramSettings(),
            secrets={TOKEN_VARIABLE: server.token, WEBHOOK_SECRET_VARIABLE: ""},
            rates=rates,
        )
        working = asyncio.create_task(application.dispatcher.run_forever())
        delivering = asyncio.create_task(application.deliverer.run_forever())
        try:
            yield app
        finally:
            await app.close()
            pool.go_on.set()
            await application.dispatcher.close(1.0)
            await working
            delivering.cancel()
            await asyncio.wait([delivering])
