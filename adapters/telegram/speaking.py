"""Short answers: lists, refusals, questions back. A flood of requests gets silence rather than a flood of refusals."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
from telegram import InlineKeyboardMarkup, Message

from adapters.telegram.client import TooBig, Unanswered
from adapters.telegram.wire import Spot, Wire
from bot.errors import MessageGone, PlatformError, Undeliverable

log = structlog.get_logger()
MOST_REFUSALS = 3
"""Refusals that may wait for their turn in one chat; further ones are left unsaid."""
LONGEST_WAIT_S = 60.0
MAX_TRIES = 200
"""At a minute each, some hours of Telegram being away."""
T = TypeVar("T")


@dataclass(frozen=True)
class Speaker:
    wire: Wire
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def say(
        self, spot: Spot, text: str, markup: InlineKeyboardMarkup | None = None, *, is_refusal: bool = False
    ) -> Message | None:
        """Until Telegram has it, however long it is away; None: nobody there can hear it."""
        if is_refusal and self.wire.pace.waiting(spot.chat) >= MOST_REFUSALS:
            log.info("a refusal was left unsaid", action="refusal_unsaid")
            return None
        return await self.deliver(spot.chat, lambda _key: self.wire.text(spot, text, markup))

    async def deliver(self, chat: int, send: Callable[[str], Awaitable[T]]) -> T | None:
        """Send when it is its turn, again while Telegram surely has not got it, and once when it may have.

        None: it never will be there. Raises: TooBig.
        """
        key, unanswered = f"say {next(self._numbers)}", 0
        for tries in range(MAX_TRIES):
            try:
                await self.wire.turn(chat, key)
                return await send(key)
            except (Undeliverable, MessageGone) as error:
                log.info("nobody there can hear it", action="unheard", detail=error.detail)
                return None
            except TooBig:
                raise
            except PlatformError as error:
                unanswered += isinstance(error, Unanswered)
                if unanswered > 1:
                    return None
                wait_s = min(LONGEST_WAIT_S, 2.0**tries)
                await asyncio.sleep(wait_s if error.retry_after_s is None else error.retry_after_s)
        return None
