"""Handles stored updates: each once, in each person's order, albums as one, retrying until it worked.

An update leaves the inbox when everything that it asks for is committed. If the process dies before, the next start
resumes it; its key prevents a second job for the same request.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import structlog
from telegram import Message, Update

from adapters.telegram.admission import Admission
from adapters.telegram.bot_api import reply_target
from adapters.telegram.buttons import ButtonHandler
from adapters.telegram.context import PLATFORM, TelegramContext
from adapters.telegram.message_parsing import author_of, parse_album, parse_message, reduce_update
from adapters.telegram.messages import MessageHandler, locale_of
from adapters.telegram.service_events import ServiceEventHandler, is_service_update
from bot import error_texts
from bot.errors import IdempotencyConflict, ShuttingDown, StorageBusy, StorageFull, UserError
from bot.ports import Inbox
from bot.ports.platform_answers import PlatformError, UnclearAnswer

log = structlog.get_logger()
ALBUM_WAIT_S = 1.0
"""An album is complete when no part has come for this long."""
LATE_ALBUM_PART_S = 120.0
"""Parts that come this long after their album are dropped silently."""
MAX_RETRY_S = 60.0
MAX_TRIES = 500
"""At a minute each: some hours without Telegram."""
MAX_UNCLEAR_TRIES = 5
TURN_WAIT_S = 1.5
"""How long an update waits for an earlier one of the same person, which may be waiting for a file or a slot."""


@dataclass
class Album:
    keys: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    touched_at: float = 0.0
    is_complete: bool = False


class UpdateHandler:
    def __init__(
        self, context: TelegramContext, inbox: Inbox, group: asyncio.TaskGroup, *, album_s: float = ALBUM_WAIT_S
    ) -> None:
        self._context = context
        self._inbox = inbox
        self._group = group
        self._album_s = album_s
        self._messages = MessageHandler(context)
        self._buttons = ButtonHandler(context)
        self._service_events = ServiceEventHandler(context)
        self._admission = Admission()
        self._albums: dict[tuple[int, str], Album] = {}
        self._locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    async def resume(self) -> None:
        """Handle the updates that the last process stored and did not finish."""
        for key, raw in await self._inbox.pending_events(PLATFORM):
            self.start_update(key, raw)

    async def save_update(self, raw: Mapping[str, Any]) -> bool:
        """Store an update durably, then handle it unless it is a replay; one that cannot be stored is dropped alone.

        Raises: StorageBusy, StorageFull.
        """
        key = f"{self._context.bot_user.id}:update:{raw['update_id']}"
        try:
            is_new = await self._inbox.save_event(PLATFORM, key, raw)
        except (StorageBusy, StorageFull):
            raise
        except Exception as error:  # its content: it must not stop the others
            log.error("an update could not be stored", action="update_dropped", key=key, exc_info=error)
            return False
        if is_new:
            self.start_update(key, raw)
        return is_new

    def start_update(self, key: str, raw: Mapping[str, Any]) -> None:
        self._group.create_task(self._run_update(key, raw))

    async def _run_update(self, key: str, raw: Mapping[str, Any]) -> None:
        try:
            await self._admission.run(raw, lambda: self._handle(key, raw))
        except Exception:  # one update must never stop the others
            log.error("an update was not handled", action="update_failed", exc_info=True)
            await self._mark_done([key])

    async def _handle(self, key: str, raw: Mapping[str, Any]) -> None:
        if is_service_update(raw):
            await self._run_in_order((0, key), [key], lambda: self._service_events.handle(raw))
            return
        update = self._parse_update(raw)
        if update is None:
            await self._mark_done([key])
            return
        if update.message is not None and update.message.media_group_id is not None:
            await self._collect_album(key, update.message, update.message.media_group_id)
        elif update.message is not None:
            await self._handle_messages([key], [update.message], key)
        elif update.callback_query is not None:
            query = update.callback_query
            chat = query.message.chat.id if query.message is not None else 0
            sender = (chat, f"press {query.from_user.id}")  # a message never holds a press
            await self._run_in_order(sender, [key], lambda: self._buttons.handle(query, key))
        else:
            await self._mark_done([key])

    def _parse_update(self, raw: Mapping[str, Any]) -> Update | None:
        """Telegram may be newer than the library: an update that cannot be parsed in full is parsed in part."""
        for form in (dict(raw), reduce_update(raw)):
            try:
                return Update.de_json(form, self._context.api.bot)
            except Exception as error:  # no update may stop the others
                log.warning("an update could not be read", action="update_unreadable", kind=type(error).__name__)
        return None

    # ------------------------------------------------------------ albums

    async def _collect_album(self, key: str, message: Message, group_id: str) -> None:
        """The first part waits for the others and handles them all."""
        name, now = (message.chat.id, group_id), asyncio.get_running_loop().time()
        is_first = name not in self._albums
        album = self._albums.setdefault(name, Album())
        if album.is_complete:
            await self._mark_done([key])
            return
        album.keys.append(key)
        album.messages.append(message)
        album.touched_at = now
        if not is_first:
            return
        while (rest_s := album.touched_at + self._album_s - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(rest_s)
        album.is_complete = True
        asyncio.get_running_loop().call_later(LATE_ALBUM_PART_S, self._albums.pop, name, None)
        await self._handle_messages(album.keys, album.messages, f"{self._context.bot_user.id}:album:{_digest(*name)}")

    # ------------------------------------------------------------ handling

    async def _handle_messages(self, keys: Sequence[str], messages: Sequence[Message], key: str) -> None:
        me, first = self._context.bot_user, messages[0]
        known = [command.name for command in self._context.usecases.plugins.commands]
        is_album = len(messages) > 1 or bool(first.media_group_id)
        incoming = parse_album(messages, me, known) if is_album else parse_message(first, me, known)
        if incoming is None:
            await self._mark_done(keys)
            return

        async def answer() -> None:
            try:
                await self._messages.handle(incoming, key)
            except (ShuttingDown, StorageBusy):
                raise
            except IdempotencyConflict:
                log.info("an event came twice", action="event_twice")
            except UserError as error:
                await self._refuse(first, error_texts.explain(error, locale=locale_of(first)))

        await self._run_in_order(
            (first.chat.id, author_of(first)), keys, answer, on_failure=lambda: self._report_failure(first)
        )

    async def _refuse(self, message: Message, sentence: str) -> None:
        await self._context.responder.reply(reply_target(message), sentence, refused=author_of(message))

    async def _report_failure(self, message: Message) -> None:
        """An internal error: the person reads a calm sentence, the details are logged."""
        incident = secrets.token_hex(4)
        log.error("an update was not handled", action="update_failed", incident=incident, exc_info=True)
        await self._refuse(message, error_texts.explain(RuntimeError(), locale=locale_of(message), incident=incident))

    async def _run_in_order(
        self,
        sender: tuple[int, str],
        keys: Sequence[str],
        work: Callable[[], Awaitable[None]],
        *,
        on_failure: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Run after the earlier updates of the same person in that chat, unless one of them takes long."""
        lock = self._locks.setdefault(sender, asyncio.Lock())
        is_ours = await _wait_for_turn(lock)
        try:
            if await self._run_until_handled(work, on_failure):
                await self._mark_done(keys)
        finally:
            if is_ours:
                lock.release()

    async def _run_until_handled(
        self, work: Callable[[], Awaitable[None]], on_failure: Callable[[], Awaitable[None]] | None
    ) -> bool:
        """False: it stays in the inbox for the next start."""
        for tries in range(MAX_TRIES):
            try:
                await work()
                break
            except ShuttingDown:
                return False
            except (StorageBusy, PlatformError) as error:
                if not (isinstance(error, UnclearAnswer) and tries >= MAX_UNCLEAR_TRIES):
                    log.info("an update has to wait", action="update_waits", code=error.code)
                    requested_s = error.retry_after_s if isinstance(error, PlatformError) else None
                    await asyncio.sleep(requested_s or min(MAX_RETRY_S, 0.5 * 2 ** min(tries, 10)))
                    continue
                await self._fail(on_failure)
                break
            except Exception:  # the boundary of a loop that must continue
                await self._fail(on_failure)
                break
        return True

    async def _fail(self, on_failure: Callable[[], Awaitable[None]] | None) -> None:
        if on_failure is None:
            log.error("a button press was not handled", action="press_failed", exc_info=True)
        else:
            await on_failure()

    async def _mark_done(self, keys: Sequence[str]) -> None:
        for key in keys:
            while True:
                try:
                    await self._inbox.mark_done(PLATFORM, key)
                    break
                except (StorageBusy, StorageFull) as error:
                    log.error("recording has to wait", action="record_waits", code=error.code)
                await asyncio.sleep(2)


async def _wait_for_turn(lock: asyncio.Lock) -> bool:
    """Whether the lock was acquired in time."""
    try:
        async with asyncio.timeout(TURN_WAIT_S):
            return await lock.acquire()
    except TimeoutError:
        log.info("an earlier update takes long", action="update_overtakes")
        return False


def _digest(chat_id: int, group_id: str) -> str:
    """Names an album without its chat: request keys are kept when a person is forgotten."""
    return hashlib.sha256(f"{chat_id}:{group_id}".encode()).hexdigest()
