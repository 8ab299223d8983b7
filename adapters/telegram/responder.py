"""Sends short replies: lists, refusals, questions. A flood of requests gets silence, not a flood of refusals."""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
from telegram import ForceReply, InlineKeyboardMarkup, Message

from adapters.telegram.bot_api import ChatTarget, TelegramApi
from adapters.telegram.bot_client import NoResponse
from adapters.telegram.error_descriptions import FileTooBig
from adapters.telegram.rate_limit import Lane
from bot.ports.platform_answers import MessageGone, NotPermitted, PlatformError, UnclearAnswer, Undeliverable

log = structlog.get_logger()
MAX_REFUSALS, REFUSAL_WINDOW_S = 8, 30.0
"""Refusals and hints per person and window; further ones are not sent."""
MIN_RETRY_S = 1.0
MAX_RETRY_S = 60.0
MAX_TRIES = 200
"""At a minute each: some hours without Telegram."""
MAX_UNCLEAR = 5
T = TypeVar("T")


@dataclass(frozen=True)
class TelegramResponder:
    api: TelegramApi
    _sequence: "itertools.count[int]" = field(default_factory=itertools.count)
    _refusals: dict[str, deque[float]] = field(default_factory=dict)

    async def reply(
        self,
        target: ChatTarget,
        text: str,
        markup: InlineKeyboardMarkup | ForceReply | None = None,
        *,
        refused: str = "",
    ) -> Message | None:
        """Send a reply, retrying for as long as Telegram is away; None: the chat cannot be reached.

        `refused`: the account that the reply refuses something; after `MAX_REFUSALS` it gets none for a while.
        """
        if refused and self._is_flooding(f"{target.chat} {refused}"):
            log.info("a refusal was not sent", action="refusal_unsaid")
            return None
        return await self.send_until_accepted(target.chat, lambda: self.api.send_text(target, text, markup))

    def _is_flooding(self, who: str) -> bool:
        now = asyncio.get_running_loop().time()
        for one in [one for one, times in self._refusals.items() if times[-1] < now - REFUSAL_WINDOW_S]:
            del self._refusals[one]
        times = self._refusals.setdefault(who, deque(maxlen=MAX_REFUSALS))
        if len(times) == MAX_REFUSALS and times[0] > now - REFUSAL_WINDOW_S:
            return True
        times.append(now)
        return False

    async def send_until_accepted(self, chat: int, send: Callable[[], Awaitable[T]]) -> T | None:
        """Send in a free slot; retry while Telegram certainly did not get it, once when it may have, and a few times
        after unclear answers.

        None: it cannot be delivered. Raises: FileTooBig.
        """
        key, unanswered, unclear = f"say {next(self._sequence)}", 0, 0
        for tries in range(MAX_TRIES):
            try:
                await self.api.wait_for_slot(chat, key, owner=key, lane=Lane.REPLY)
                return await send()
            except (NotPermitted, Undeliverable, MessageGone) as error:
                log.info("the chat cannot be reached", action="unheard", detail=error.detail)
                return None
            except FileTooBig:
                raise
            except PlatformError as error:
                unanswered += isinstance(error, NoResponse)
                unclear += isinstance(error, UnclearAnswer)
                if unanswered > 1 or unclear > MAX_UNCLEAR:
                    log.info("a reply was not accepted", action="unheard", detail=error.detail)
                    return None
                wait_s = min(MAX_RETRY_S, MIN_RETRY_S * 2.0 ** min(tries, 10))
                await asyncio.sleep(wait_s if error.retry_after_s is None else error.retry_after_s)
        return None
