"""Short answers: lists, refusals, questions back. A flood of requests gets silence rather than a flood of refusals."""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
from telegram import InlineKeyboardMarkup, Message

from adapters.telegram.bot_api import Spot, Wire
from adapters.telegram.bot_client import TooBig, Unanswered
from bot.errors import MessageGone, PlatformError, Undeliverable

log = structlog.get_logger()
MOST_REFUSALS, IN_S = 8, 30.0
"""How many times one person is refused (or given a hint) in so many seconds; what is beyond is left unsaid."""
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
MAX_TRIES = 200
"""At a minute each, some hours of Telegram being away."""
T = TypeVar("T")


@dataclass(frozen=True)
class Speaker:
    wire: Wire
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _refused: dict[str, deque[float]] = field(default_factory=dict)

    async def say(
        self, spot: Spot, text: str, markup: InlineKeyboardMarkup | None = None, *, refused: str = ""
    ) -> Message | None:
        """Until Telegram has it, however long it is away; None: nobody there can hear it.

        `refused` is the account that is refused something: who asks for nonsense again and again hears no more of it.
        """
        if refused and self._is_enough(f"{spot.chat} {refused}"):
            log.info("a refusal was left unsaid", action="refusal_unsaid")
            return None
        return await self.deliver(spot.chat, lambda: self.wire.text(spot, text, markup))

    def _is_enough(self, who: str) -> bool:
        now = asyncio.get_running_loop().time()
        for one in [one for one, times in self._refused.items() if times[-1] < now - IN_S]:
            del self._refused[one]
        times = self._refused.setdefault(who, deque(maxlen=MOST_REFUSALS))
        if len(times) == MOST_REFUSALS and times[0] > now - IN_S:
            return True
        times.append(now)
        return False

    async def deliver(self, chat: int, send: Callable[[], Awaitable[T]]) -> T | None:
        """Send when it is its turn, again while Telegram surely has not got it, and once when it may have.

        None: it never will be there. Raises: TooBig.
        """
        key, unanswered = f"say {next(self._numbers)}", 0
        for tries in range(MAX_TRIES):
            try:
                await self.wire.turn(chat, key)
                return await send()
            except (Undeliverable, MessageGone) as error:
                log.info("nobody there can hear it", action="unheard", detail=error.detail)
                return None
            except TooBig:
                raise
            except PlatformError as error:
                unanswered += isinstance(error, Unanswered)
                if unanswered > 1:
                    return None
                wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(tries, 10))
                await asyncio.sleep(wait_s if error.retry_after_s is None else error.retry_after_s)
        return None
