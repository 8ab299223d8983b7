"""Handles updates that are safely kept: each once, a person's in their order, albums as one, until it worked.

An update leaves the inbox when everything that it asked for is committed. Whatever kills the process before leaves it
there, and the next start takes it up; its key makes sure that what it asked for is not asked for twice.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import structlog
from telegram import Message, Update

from adapters.telegram.bot_api import spot_of
from adapters.telegram.buttons import Buttons
from adapters.telegram.context import NAME, Room
from adapters.telegram.message_parsing import author_of, hear, hear_album, simplified
from adapters.telegram.messages import Talk, locale_of
from bot import error_texts
from bot.errors import IdempotencyConflict, PlatformError, ShuttingDown, StorageBusy, StorageFull, UserError
from bot.ports import Inbox

log = structlog.get_logger()
ALBUM_S = 1.0
"""How long nothing of an album may come before it is complete."""
STRAGGLERS_S = 120.0
"""A part that comes later than its album is left out, silently."""
RETRY_MAX_S = 60.0
MAX_TRIES = 500
"""At a minute each, some hours of Telegram being away."""


@dataclass
class Album:
    keys: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    touched_at: float = 0.0
    is_taken: bool = False


class Intake:
    def __init__(self, room: Room, inbox: Inbox, group: asyncio.TaskGroup, *, album_s: float = ALBUM_S) -> None:
        self._room = room
        self._inbox = inbox
        self._group = group
        self._album_s = album_s
        self._talk = Talk(room)
        self._buttons = Buttons(room)
        self._albums: dict[tuple[int, str], Album] = {}
        self._turns: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    async def resume(self) -> None:
        """Take up what an earlier life kept and did not finish."""
        for key, raw in await self._inbox.waiting(NAME):
            self.take(key, raw)

    async def keep(self, raw: Mapping[str, Any]) -> bool:
        """Durable once it returns. Raises: StorageBusy, StorageFull. Then, unless it is a replay, it is handled."""
        key = f"{self._room.me.id}:update:{raw['update_id']}"
        is_new = await self._inbox.keep(NAME, key, raw)
        if is_new:
            self.take(key, raw)
        return is_new

    def take(self, key: str, raw: Mapping[str, Any]) -> None:
        self._group.create_task(self._take(key, raw))

    async def _take(self, key: str, raw: Mapping[str, Any]) -> None:
        try:
            await self._handle(key, raw)
        except Exception:  # one event must never end the others' service
            log.error("an update was not handled", action="update_failed", exc_info=True)
            await self._done([key])

    async def _handle(self, key: str, raw: Mapping[str, Any]) -> None:
        update = self._read(raw)
        if update is None:
            await self._done([key])
            return
        if update.message is not None and update.message.media_group_id is not None:
            await self._gather(key, update.message, update.message.media_group_id)
        elif update.message is not None:
            await self._answer([key], [update.message], key)
        elif update.callback_query is not None:
            query = update.callback_query
            chat = query.message.chat.id if query.message is not None else 0
            await self._in_turn((chat, str(query.from_user.id)), [key], lambda: self._buttons.press(query, key))
        else:
            await self._done([key])

    def _read(self, raw: Mapping[str, Any]) -> Update | None:
        """Telegram and the library change at their own times: what cannot be read in full is read in part."""
        for form in (dict(raw), simplified(raw)):
            try:
                return Update.de_json(form, self._room.wire.bot)
            except Exception as error:  # whatever it is, it must not stop the rest
                log.warning("an update could not be read", action="update_unreadable", kind=type(error).__name__)
        return None

    # ------------------------------------------------------------ albums

    async def _gather(self, key: str, message: Message, group_id: str) -> None:
        """Whoever comes first waits for the rest and speaks for all."""
        name, now = (message.chat.id, group_id), asyncio.get_running_loop().time()
        is_first = name not in self._albums
        album = self._albums.setdefault(name, Album())
        if album.is_taken:
            await self._done([key])
            return
        album.keys.append(key)
        album.messages.append(message)
        album.touched_at = now
        if not is_first:
            return
        while (rest_s := album.touched_at + self._album_s - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(rest_s)
        album.is_taken = True
        asyncio.get_running_loop().call_later(STRAGGLERS_S, self._albums.pop, name, None)
        await self._answer(album.keys, album.messages, f"{self._room.me.id}:album:{message.chat.id}:{group_id}")

    # ------------------------------------------------------------ answering

    async def _answer(self, keys: Sequence[str], messages: Sequence[Message], key: str) -> None:
        me, first = self._room.me, messages[0]
        heard = hear(first, me) if len(messages) == 1 and not first.media_group_id else hear_album(messages, me)
        if heard is None:
            await self._done(keys)
            return

        async def answer() -> None:
            try:
                await self._talk.answer(heard, key)
            except (ShuttingDown, StorageBusy):
                raise
            except IdempotencyConflict:
                log.info("an event came twice", action="event_twice")
            except UserError as error:
                await self._refuse(first, error_texts.explain(error, locale=locale_of(first)))

        await self._in_turn((first.chat.id, author_of(first)), keys, answer, on_failure=lambda: self._fail(first))

    async def _refuse(self, message: Message, sentence: str) -> None:
        await self._room.speaker.say(spot_of(message), sentence, refused=author_of(message))

    async def _fail(self, message: Message) -> None:
        """Our own mistake: the person gets a calm sentence, the log the rest."""
        incident = secrets.token_hex(4)
        log.error("an update was not handled", action="update_failed", incident=incident, exc_info=True)
        await self._refuse(message, error_texts.explain(RuntimeError(), locale=locale_of(message), incident=incident))

    async def _in_turn(
        self,
        who: tuple[int, str],
        keys: Sequence[str],
        work: Callable[[], Awaitable[None]],
        *,
        on_failure: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """After what the same person said there before."""
        lock = self._turns.setdefault(who, asyncio.Lock())
        async with lock:
            for tries in range(MAX_TRIES):
                try:
                    await work()
                    break
                except ShuttingDown:
                    return  # it stays in the inbox for the next start
                except (StorageBusy, PlatformError) as error:
                    log.info("an update has to wait", action="update_waits", code=error.code)
                    asked_s = error.retry_after_s if isinstance(error, PlatformError) else None
                    await asyncio.sleep(asked_s or min(RETRY_MAX_S, 0.5 * 2 ** min(tries, 10)))
                except Exception:  # the edge of a loop that must go on
                    if on_failure is None:
                        log.error("a press was not handled", action="press_failed", exc_info=True)
                    else:
                        await on_failure()
                    break
            await self._done(keys)

    async def _done(self, keys: Sequence[str]) -> None:
        for key in keys:
            while True:
                try:
                    await self._inbox.done(NAME, key)
                    break
                except (StorageBusy, StorageFull) as error:
                    log.error("recording has to wait", action="record_waits", code=error.code)
                await asyncio.sleep(2)
