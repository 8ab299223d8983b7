"""Asks Telegram for updates, and keeps each one before the offset moves past it.

The offset is what acknowledges: an update that was not kept is asked for again. There is one poller a token; a second
one anywhere makes Telegram refuse both in turns, which is said and waited out.
"""

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from telegram import Bot

from adapters.telegram.bot_client import OtherPoller, TokenRefused, calls
from adapters.telegram.update_handler import Intake
from bot.errors import PlatformError, StorageBusy, StorageFull

log = structlog.get_logger()
ALLOWED = ("message", "callback_query")
"""Edited messages are not among them: what was asked was asked."""
POLL_S = 50
BATCH = 100
LONGEST_WAIT_S = 60.0
CONFLICT_SAID_S = 600.0

TAKEN = (
    "Telegram: another program gets the updates of this bot's token, so this one waits. Stop the other one, "
    "or make a token of its own with @BotFather."
)
REFUSED = "Telegram refuses the token: check TELEGRAM_BOT_TOKEN. It is tried again every minute."


def concerns_us(raw: Mapping[str, Any], me: int, name: str) -> bool:
    """Whether an update may be for the bot. People's own talk in a group is not kept, not even for a moment."""
    if "callback_query" in raw:
        return True
    message = raw.get("message")
    if not isinstance(message, dict):
        return False
    if message.get("chat", {}).get("type") == "private" or "media_group_id" in message:
        return True
    text = str(message.get("text") or message.get("caption") or "")
    replied = message.get("reply_to_message") or {}
    return text.startswith("/") or f"@{name}".casefold() in text.casefold() or replied.get("from", {}).get("id") == me


def back_off_s(tries: int) -> float:
    return min(LONGEST_WAIT_S, 2.0 ** min(tries, 10)) * random.uniform(0.5, 1)


class Polling:
    """`announce` tells the owner's terminal one line."""

    def __init__(self, bot: Bot, intake: Intake, announce: Callable[[str], None], *, poll_s: int = POLL_S) -> None:
        self._bot = bot
        self._intake = intake
        self._announce = announce
        self._poll_s = poll_s
        self._said_at = -CONFLICT_SAID_S

    async def run(self) -> None:
        """Until cancelled."""
        offset, failures = 0, 0
        while True:
            try:
                updates = await self._ask(offset)
                await self._keep(updates)
            except (PlatformError, StorageBusy, StorageFull) as error:
                self._tell(error)
                asked_s = error.retry_after_s if isinstance(error, PlatformError) else None
                await asyncio.sleep(asked_s or back_off_s(failures))
                failures += 1
                continue
            failures = 0
            if updates:
                offset = updates[-1]["update_id"] + 1

    async def _ask(self, offset: int) -> list[dict[str, Any]]:
        """As they came: one that the library cannot read must not keep the others from us. Raises: PlatformError."""
        parameters = {
            "offset": offset,
            "limit": BATCH,
            "timeout": self._poll_s,
            "allowed_updates": json.dumps(ALLOWED),
        }
        with calls():
            # Under the method's usual name the library would parse all of them, or none.
            found = await self._bot.do_api_request("get_Updates", parameters, read_timeout=self._poll_s + 10)
        return list(found)

    async def _keep(self, updates: list[dict[str, Any]]) -> None:
        """All of them, together; raises before the offset has moved."""
        name, me = self._bot.username, self._bot.id
        await asyncio.gather(*(self._intake.keep(one) for one in updates if concerns_us(one, me, name)))

    def _tell(self, error: Exception) -> None:
        code = getattr(error, "code", type(error).__name__)
        log.warning("no updates for now", action="polling_failed", code=code, kind=type(error).__name__)
        now = asyncio.get_running_loop().time()
        sentence = TAKEN if isinstance(error, OtherPoller) else REFUSED if isinstance(error, TokenRefused) else ""
        if sentence and now > self._said_at + CONFLICT_SAID_S:
            self._said_at = now
            self._announce(sentence)
