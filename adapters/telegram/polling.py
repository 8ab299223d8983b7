"""Polls Telegram for updates, and stores each one before the offset moves past it.

The offset acknowledges: an update that was not stored is requested again. There is one poller per token; with a second
one anywhere Telegram refuses both alternately, which is announced and waited out.
"""

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog
from telegram import Bot

from adapters.telegram.bot_client import PollingConflict, translate_errors
from adapters.telegram.message_parsing import readable_update
from adapters.telegram.service_events import MEMBERSHIP, is_service_update
from adapters.telegram.update_handler import UpdateHandler
from adapters.telegram.update_types import update_id_of
from bot.errors import StorageBusy, StorageFull
from bot.ports.platform_answers import PlatformError, TokenRefused, UnclearAnswer

log = structlog.get_logger()
ALLOWED_UPDATES = ("message", "callback_query", MEMBERSHIP)
"""Without edited messages: a request does not change afterwards."""
POLL_TIMEOUT_S = 50
BATCH = 100
MAX_WAIT_S = 60.0
ANNOUNCE_INTERVAL_S = 600.0

CONFLICT = (
    "Telegram: another program receives the updates of this bot's token, so Easel waits. Stop the other program, "
    "or create another token with @BotFather."
)
WEBHOOK_SET = (
    "Telegram: another program has set a webhook for this bot's token, so Easel receives nothing. Stop that program, "
    "then restart Easel, which removes the webhook; or create another token with @BotFather."
)
TOKEN_REFUSED = (
    "Telegram refused the token: check TELEGRAM_BOT_TOKEN. Easel tries again every minute and keeps all results; a "
    "token that is replaced in its file is read without a restart."
)
CONNECTED, AWAY = "Telegram is connected.", "Telegram cannot be reached; Easel keeps trying."


def is_for_bot(raw: Mapping[str, Any], me: int, name: str) -> bool:
    """Whether an update may be for the bot. Other people's conversation in a group is never stored."""
    if "callback_query" in raw or is_service_update(raw):
        return True
    message = raw.get("message")
    if not isinstance(message, dict):
        return False
    if message.get("chat", {}).get("type") == "private" or "media_group_id" in message:
        return True
    text = str(message.get("text") or message.get("caption") or "")
    replied = message.get("reply_to_message") or {}
    return text.startswith("/") or f"@{name}".casefold() in text.casefold() or replied.get("from", {}).get("id") == me


def backoff_s(tries: int) -> float:
    return min(MAX_WAIT_S, 2.0 ** min(tries, 10)) * random.uniform(0.5, 1)


def sentence_about(error: Exception) -> str:
    """Why Telegram is not connected, for the owner."""
    if isinstance(error, PollingConflict):
        return WEBHOOK_SET if "webhook" in error.detail.casefold() else CONFLICT
    return TOKEN_REFUSED if isinstance(error, TokenRefused) else AWAY


class Report(Protocol):
    def __call__(self, sentence: str, *, is_ok: bool) -> None: ...


class Polling:
    """`announce` writes one line to the owner's terminal; `report` is for `doctor` and `/readyz`."""

    def __init__(
        self,
        bot: Bot,
        update_handler: UpdateHandler,
        announce: Callable[[str], None],
        report: Report,
        *,
        poll_s: int = POLL_TIMEOUT_S,
    ) -> None:
        self._bot = bot
        self._update_handler = update_handler
        self._announce = announce
        self._report_health = report
        self._poll_s = poll_s
        self._announced_at = -ANNOUNCE_INTERVAL_S

    async def run(self) -> None:
        """Until cancelled."""
        offset, failures = 0, 0
        while True:
            try:
                updates = await self._fetch_updates(offset)
                await self._save_updates(updates)
            except (PlatformError, StorageBusy, StorageFull) as error:
                self._report(error)
                requested_s = error.retry_after_s if isinstance(error, PlatformError) else None
                await asyncio.sleep(requested_s or backoff_s(failures))
                failures += 1
                continue
            if failures:
                self._report_health(CONNECTED, is_ok=True)
            failures = 0
            offset = max([offset, *(number + 1 for one in updates if (number := update_id_of(one)) is not None)])

    async def _fetch_updates(self, offset: int) -> list[dict[str, Any]]:
        """Unparsed: an update that the library cannot parse must not block the others. Raises: PlatformError."""
        parameters = {
            "offset": offset,
            "limit": BATCH,
            "timeout": self._poll_s,
            "allowed_updates": json.dumps(ALLOWED_UPDATES),
        }
        with translate_errors():
            # By the usual name of the method, the library would parse all of them or none.
            updates = await self._bot.do_api_request("get_Updates", parameters, read_timeout=self._poll_s + 10)
        if not isinstance(updates, list) or (updates and all(update_id_of(one) is None for one in updates)):
            raise UnclearAnswer("no list of updates")
        return updates

    async def _save_updates(self, updates: list[dict[str, Any]]) -> None:
        """Store all of them, or raise before the offset has moved."""
        name, me = self._bot.username, self._bot.id
        known = [one for raw in updates if (one := readable_update(raw)) is not None and is_for_bot(one, me, name)]
        await asyncio.gather(*(self._update_handler.save_update(one) for one in known))

    def _report(self, error: Exception) -> None:
        code = getattr(error, "code", type(error).__name__)
        log.warning("updates cannot be fetched", action="polling_failed", code=code, kind=type(error).__name__)
        now = asyncio.get_running_loop().time()
        sentence = sentence_about(error)
        self._report_health(sentence, is_ok=False)
        if sentence != AWAY and now > self._announced_at + ANNOUNCE_INTERVAL_S:
            self._announced_at = now
            self._announce(sentence)
