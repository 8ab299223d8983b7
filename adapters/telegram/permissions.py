"""What the bot may send in a group, so that a request that could never be answered there is told so at once."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from telegram import ChatMemberAdministrator, ChatMemberRestricted

from adapters.telegram.bot_api import Wire
from adapters.telegram.bot_client import calls
from bot.errors import PlatformError, Undeliverable

REMEMBERED_S = 600.0
TEXT_ONLY = frozenset({"caption", "ask", "describe", "match"})


@dataclass(frozen=True)
class Rights:
    """Asked of Telegram once in ten minutes for each group; when it does not answer, the best is assumed."""

    wire: Wire
    clock: Callable[[], float] = time.monotonic
    _known: dict[int, tuple[float, bool, bool]] = field(default_factory=dict)

    async def allow(self, chat: int, command: str) -> bool:
        """Whether the answer to this command may be posted there."""
        if chat > 0:
            return True
        known = self._known.get(chat)
        if known is None or known[0] < self.clock() - REMEMBERED_S:
            known = self._known[chat] = (self.clock(), *await self._ask(chat))
        _, may_write, may_show = known
        return may_write and (may_show or command in TEXT_ONLY)

    async def _ask(self, chat: int) -> tuple[bool, bool]:
        try:
            with calls():
                member = await self.wire.bot.get_chat_member(chat, self.wire.bot.id)
                if isinstance(member, ChatMemberAdministrator):
                    return True, True
                if isinstance(member, ChatMemberRestricted):
                    return member.can_send_messages, member.can_send_messages and member.can_send_photos
                usual = (await self.wire.bot.get_chat(chat)).permissions
        except Undeliverable:
            return False, False
        except PlatformError:
            return True, True
        if usual is None:
            return True, True
        return usual.can_send_messages is not False, usual.can_send_photos is not False
