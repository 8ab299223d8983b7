"""The Telegram adapter: connects, takes updates, and is the platform that the outbox delivers through."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from telegram import Bot, BotCommand

from adapters.telegram.attachments import Pictures
from adapters.telegram.bot_api import Wire
from adapters.telegram.bot_client import TokenRefused, build_bot, calls
from adapters.telegram.context import NAME, Room
from adapters.telegram.delivery import Replies
from adapters.telegram.permissions import Rights
from adapters.telegram.polling import REFUSED, Polling, back_off_s
from adapters.telegram.rate_limit import Pace, Rates
from adapters.telegram.responder import Speaker
from adapters.telegram.settings import TelegramSettings
from adapters.telegram.text_limits import MAX_SUMMARY, cut
from adapters.telegram.update_handler import ALBUM_S, Intake
from bot.chat import texts as chat_texts
from bot.errors import PlatformError, StartupError
from bot.jobs import Job, Media
from bot.ports import Delivery, Progress
from bot.runtime.lock import DataLock
from bot.usecases import Surroundings

log = structlog.get_logger()
TOKEN = "TELEGRAM_BOT_TOKEN"
SECRET = "EASEL_TELEGRAM__WEBHOOK_SECRET"
LOCK_RETRY_S = 30.0


class Telegram:
    """Both an `Adapter` and a `Platform`. `rates` and `album_s` are for tests, which are in a hurry."""

    name = NAME

    def __init__(
        self,
        settings: TelegramSettings,
        surroundings: Surroundings,
        *,
        rates: Rates | None = None,
        album_s: float = ALBUM_S,
    ) -> None:
        self._settings = settings
        self._surroundings = surroundings
        self._album_s = album_s
        self._token = surroundings.secret_of(TOKEN)
        self._wire = Wire(build_bot(settings, self._token or "none"), Pace(rates))
        usecases = surroundings.usecases
        replies = Replies(self._wire, usecases, Rights(self._wire))
        self._replies = replies
        self._room = Room(
            wire=self._wire,
            usecases=usecases,
            pictures=Pictures(self._wire, usecases),
            replies=replies,
            speaker=Speaker(self._wire),
            admins=frozenset(settings.admins),
        )

    def is_admin(self, account_id: str) -> bool:
        return self._room.is_admin(account_id)

    # ------------------------------------------------------------ the adapter

    async def run(self) -> None:
        """Serve until cancelled. Raises: StartupError."""
        if not self._token:
            self._surroundings.announce(f"Telegram: no token. Set {TOKEN}; @BotFather gives you one.")
            return
        self._check_settings()
        try:
            await self._serve()
        except* StartupError as group:
            raise group.exceptions[0] from None

    async def _serve(self) -> None:
        async with self._only_one(), self._connected() as bot, asyncio.TaskGroup() as group:
            group.create_task(self._set_menu(bot))
            intake = Intake(self._room, self._surroundings.inbox, group, album_s=self._album_s)
            await intake.resume()
            self._surroundings.announce(f"Telegram: @{bot.username}, https://t.me/{bot.username}")
            await self._take_updates(bot, intake)

    def _check_settings(self) -> None:
        if self._settings.mode == "webhook" and not self._settings.webhook_url:
            raise StartupError("The webhook needs its public address: set EASEL_TELEGRAM__WEBHOOK_URL.")

    async def _take_updates(self, bot: Bot, intake: Intake) -> None:
        if self._settings.mode == "webhook":
            from adapters.telegram.webhook import Webhook  # a web server only for whoever wants it

            secret = self._surroundings.secret_of(SECRET)
            await Webhook(bot, intake, self._settings, secret, self._try_until_done).run()
            return
        await self._try_until_done(lambda: bot.delete_webhook(drop_pending_updates=False))
        await Polling(bot, intake, self._surroundings.announce).run()

    @asynccontextmanager
    async def _only_one(self) -> AsyncIterator[None]:
        """One poller a token on this machine, whatever data directory it has; elsewhere Telegram itself tells us."""
        name = hashlib.sha256(self._token.encode()).hexdigest()[:16]
        lock = DataLock(Path(tempfile.gettempdir()) / f"easel-telegram-{name}")
        is_said = False
        while True:
            try:
                await asyncio.to_thread(lock.acquire)
                break
            except StartupError:
                if not is_said:
                    self._surroundings.announce(
                        "Telegram: another Easel on this machine serves this bot; waiting for it."
                    )
                is_said = True
                await asyncio.sleep(LOCK_RETRY_S)
            except OSError:  # another user's, or a temporary directory that nobody may write to
                yield
                return
        try:
            yield
        finally:
            lock.release()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Bot]:
        """Once Telegram knows the bot; it may be away for hours before that."""
        bot = self._wire.bot
        try:
            await self._try_until_done(bot.initialize)
            yield bot
        finally:
            await bot.shutdown()

    async def _try_until_done(self, call: Callable[[], Awaitable[object]]) -> None:
        tries, is_said = 0, False
        while True:
            try:
                with calls():
                    await call()
                return
            except PlatformError as error:
                log.warning("Telegram cannot be reached", action="connect_failed", kind=type(error).__name__)
                if isinstance(error, TokenRefused) and not is_said:
                    self._surroundings.announce(REFUSED)
                    is_said = True
                await asyncio.sleep(error.retry_after_s or back_off_s(tries))
                tries += 1

    async def _set_menu(self, bot: Bot) -> None:
        """The commands, in each language there is. Best effort: a menu is a convenience."""
        for language in ("", *(one for one in chat_texts.available_locales() if len(one) == 2)):
            said = [BotCommand(name, cut(words, MAX_SUMMARY)) for name, words in chat_texts.menu(language or "en")]
            try:
                with calls():
                    await bot.set_my_commands(said, language_code=language or None)
            except PlatformError as error:
                log.warning("the menu was not set", action="menu_failed", detail=error.detail)

    # ------------------------------------------------------------ the platform

    async def place(self, delivery: Delivery) -> str:
        return await self._replies.place(delivery)

    async def progress(self, job: Job, message_ref: str, progress: Progress) -> None:
        await self._replies.progress(job, message_ref, progress)

    async def edit(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        return await self._replies.edit(delivery, pictures)

    async def send(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        return await self._replies.send(delivery, pictures)

    async def tell_kept(self, delivery: Delivery) -> None:
        await self._replies.tell_kept(delivery)
