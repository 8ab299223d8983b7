"""The Telegram adapter: connects, receives updates, and is the platform that the outbox delivers through."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
from telegram import Bot, BotCommand

from adapters.telegram.attachments import PhotoUploads
from adapters.telegram.bot_api import TelegramApi
from adapters.telegram.bot_client import build_bot, translate_errors
from adapters.telegram.context import PLATFORM, TelegramContext
from adapters.telegram.delivery import TelegramDelivery
from adapters.telegram.permissions import ChatPermissions
from adapters.telegram.polling import CONNECTED, TOKEN_REFUSED, Polling, backoff_s, sentence_about
from adapters.telegram.rate_limit import RateLimits, TelegramRateLimiter
from adapters.telegram.responder import TelegramResponder
from adapters.telegram.service_events import ServiceEventHandler
from adapters.telegram.settings import TelegramSettings
from adapters.telegram.text_limits import MAX_COMMANDS, MAX_DESCRIPTION, truncate
from adapters.telegram.update_handler import ALBUM_WAIT_S, UpdateHandler
from bot.chat import texts as chat_texts
from bot.chat.commands import command_menu
from bot.errors import StartupError
from bot.jobs import Job, Media
from bot.plugins.plugin_commands import OwnCommand
from bot.ports import Delivery, Progress
from bot.ports.platform_answers import PlatformError, TokenRefused
from bot.runtime.lock import DataLock
from bot.runtime.private_files import runtime_folder
from bot.usecases import AdapterContext

log = structlog.get_logger()
TOKEN_VARIABLE = "TELEGRAM_BOT_TOKEN"
WEBHOOK_SECRET_VARIABLE = "EASEL_TELEGRAM__WEBHOOK_SECRET"
LOCK_RETRY_S = 30.0
TOKEN_CHECK_S = 60.0


class TokenReplaced(Exception):
    """The owner set another token: the connection starts over with it."""


class TelegramAdapter:
    """Both an `Adapter` and a `Platform`. `rate_limits` and `album_s`: shorter for tests."""

    name = PLATFORM

    def __init__(
        self,
        settings: TelegramSettings,
        adapter_context: AdapterContext,
        *,
        rate_limits: RateLimits | None = None,
        album_s: float = ALBUM_WAIT_S,
    ) -> None:
        self._settings = settings
        self._adapter_context = adapter_context
        self._album_s = album_s
        self._token = adapter_context.read_secret(TOKEN_VARIABLE)
        self._api = TelegramApi(build_bot(settings, self._token or "none"), TelegramRateLimiter(rate_limits))
        usecases = adapter_context.usecases
        replies = TelegramDelivery(self._api, usecases, ChatPermissions(self._api))
        self._delivery = replies
        self._context = TelegramContext(
            api=self._api,
            usecases=usecases,
            photo_uploads=PhotoUploads(self._api, usecases),
            delivery=replies,
            responder=TelegramResponder(self._api),
            admins=frozenset(settings.admins),
        )
        self._api.on_chat_moved = ServiceEventHandler(self._context).move_chat

    def is_admin(self, account_id: str) -> bool:
        return self._context.is_admin(account_id)

    # ------------------------------------------------------------ the adapter

    async def serve(self) -> None:
        """Serve until cancelled. Raises: StartupError."""
        if not self._token:
            self._adapter_context.announce(f"Telegram: no token. Set {TOKEN_VARIABLE}; @BotFather gives you one.")
            return
        self._check_settings()
        while True:
            try:
                await self._serve()
                return
            except* StartupError as group:
                raise group.exceptions[0] from None
            except* TokenReplaced:
                log.info("the token was replaced", action="token_replaced")
                self._token = self._adapter_context.read_secret(TOKEN_VARIABLE)
                self._api.bot = build_bot(self._settings, self._token)

    async def _serve(self) -> None:
        async with self._hold_token_lock(), self._connect() as bot, asyncio.TaskGroup() as group:
            group.create_task(self._set_commands(bot))
            group.create_task(self._watch_token())
            intake = UpdateHandler(self._context, self._adapter_context.inbox, group, album_s=self._album_s)
            await intake.resume()
            self._adapter_context.announce(f"Telegram: @{bot.username}, https://t.me/{bot.username}")
            await self._receive_updates(bot, intake)

    async def _watch_token(self) -> None:
        """Raises: TokenReplaced."""
        while True:
            await asyncio.sleep(TOKEN_CHECK_S)
            self._check_token()

    def _check_token(self) -> None:
        """Raises: TokenReplaced."""
        if self._adapter_context.read_secret(TOKEN_VARIABLE) not in ("", self._token):
            raise TokenReplaced

    def _report(self, sentence: str, *, is_ok: bool) -> None:
        self._adapter_context.usecases.operations.report_platform(PLATFORM, sentence, is_ok=is_ok)

    def _check_settings(self) -> None:
        if self._settings.mode == "webhook" and not self._settings.webhook_url:
            raise StartupError("The webhook needs its public address: set EASEL_TELEGRAM__WEBHOOK_URL.")

    async def _receive_updates(self, bot: Bot, intake: UpdateHandler) -> None:
        if self._settings.mode == "webhook":
            from adapters.telegram.webhook import Webhook  # imports a web server

            secret = self._adapter_context.read_secret(WEBHOOK_SECRET_VARIABLE)
            await Webhook(bot, intake, self._settings, secret, self._retry_until_done).run()
            return
        await self._retry_until_done(lambda: bot.delete_webhook(drop_pending_updates=False))
        await Polling(bot, intake, self._adapter_context.announce, self._report).run()

    @asynccontextmanager
    async def _hold_token_lock(self) -> AsyncIterator[None]:
        """One poller per token and user, across data directories; Telegram reports all other pollers."""
        name, is_announced = hashlib.sha256(self._token.encode()).hexdigest()[:16], False
        while True:
            try:
                lock = DataLock(runtime_folder() / f"telegram-{name}")
                await asyncio.to_thread(lock.acquire)
                break
            except StartupError:
                if not is_announced:
                    self._adapter_context.announce(
                        "Telegram: another Easel on this machine serves this bot; waiting for it to stop."
                    )
                is_announced = True
                await asyncio.sleep(LOCK_RETRY_S)
            except OSError:  # the folder belongs to another user, or cannot be written
                yield
                return
        try:
            yield
        finally:
            lock.release()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Bot]:
        """Connect, for as long as it takes: Telegram may be down for hours."""
        bot = self._api.bot
        try:
            await self._retry_until_done(bot.initialize)
            yield bot
        finally:
            await bot.shutdown()

    async def _retry_until_done(self, call: Callable[[], Awaitable[object]]) -> None:
        tries, is_announced = 0, False
        while True:
            try:
                with translate_errors():
                    await call()
                self._report(CONNECTED, is_ok=True)
                return
            except PlatformError as error:
                log.warning("Telegram cannot be reached", action="connect_failed", kind=type(error).__name__)
                self._report(sentence_about(error), is_ok=False)
                if isinstance(error, TokenRefused):
                    self._check_token()
                    if not is_announced:
                        self._adapter_context.announce(TOKEN_REFUSED)
                    is_announced = True
                await asyncio.sleep(error.retry_after_s or backoff_s(tries))
                tries += 1

    async def _set_commands(self, bot: Bot) -> None:
        """Set the command menu, and again when plugins with commands are switched."""
        plugins = self._adapter_context.usecases.plugins
        while True:
            known = plugins.commands
            await self._set_menu(bot, known)
            await plugins.wait_for_commands(known)

    async def _set_menu(self, bot: Bot, of_plugins: Sequence[OwnCommand]) -> None:
        """In every language with a catalogue, best effort."""
        for language in ("", *(one for one in chat_texts.available_locales() if len(one) == 2)):
            menu = command_menu(language or "en", of_plugins)[:MAX_COMMANDS]
            commands = [BotCommand(name, truncate(text, MAX_DESCRIPTION)) for name, text in menu]
            try:
                with translate_errors():
                    await bot.set_my_commands(commands, language_code=language or None)
            except PlatformError as error:
                log.warning("the menu was not set", action="menu_failed", detail=error.detail)

    # ------------------------------------------------------------ the platform

    async def retract_message(self, delivery: Delivery, message_ref: str) -> None:
        await self._delivery.retract_message(delivery, message_ref)

    async def post_placeholder(self, delivery: Delivery) -> str:
        return await self._delivery.post_placeholder(delivery)

    async def show_progress(self, job: Job, message_ref: str, progress: Progress) -> bool:
        return await self._delivery.show_progress(job, message_ref, progress)

    async def edit_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        return await self._delivery.edit_result(delivery, pictures)

    async def send_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        return await self._delivery.send_result(delivery, pictures)

    async def notify_undeliverable(self, delivery: Delivery) -> None:
        await self._delivery.notify_undeliverable(delivery)
