"""Lets few requests in at a time, so that presses and short commands never wait behind a burst of them.

Parsing a message and storing its job take some milliseconds each, and the database takes one writer after the other.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bot.commands import COMMANDS
from bot.runtime.fair_slots import FairSlots

MAX_STARTING, MAX_STARTING_PER_PERSON = 6, 2
STARTING_S = 0.5
"""How long a request holds its slot: one that takes longer waits for a file or for Telegram."""


class Admission:
    def __init__(self) -> None:
        self._slots = FairSlots(MAX_STARTING, per_owner=MAX_STARTING_PER_PERSON)
        self._waiting: Counter[str] = Counter()

    async def run(self, raw: Mapping[str, Any], handle: Callable[[], Awaitable[None]]) -> None:
        """Handle an update in a slot; without one if it is no request and no request of the same person waits."""
        owner = _sender_of(raw)
        if not is_request(raw) and not self._waiting[owner]:
            await handle()
            return
        self._waiting[owner] += 1
        try:
            handling = await self._start(owner, handle)
        finally:
            self._waiting[owner] -= 1
            if not self._waiting[owner]:
                del self._waiting[owner]
        await handling

    async def _start(self, owner: str, handle: Callable[[], Awaitable[None]]) -> "asyncio.Future[None]":
        """Returns once it is done, or takes long."""
        async with self._slots.hold(owner):
            handling = asyncio.ensure_future(handle())
            try:
                await asyncio.wait({handling}, timeout=STARTING_S)
            except asyncio.CancelledError:
                handling.cancel()
                raise
            return handling


def is_request(raw: Mapping[str, Any]) -> bool:
    """Whether it may ask for a job: a message that is no short command. Parts of an album wait for one another."""
    message = raw.get("message")
    if message is None or "media_group_id" in message:
        return False
    first_word = (message.get("text") or "").partition(" ")[0]
    return not first_word.startswith("/") or first_word[1:].partition("@")[0].casefold() in COMMANDS


def _sender_of(raw: Mapping[str, Any]) -> str:
    message = raw.get("message") or {}
    return str((message.get("from") or {}).get("id", ""))
