"""What the bot may send in a group, and who its admins are.

A request that cannot be answered there is answered elsewhere immediately.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from telegram import ChatMember, ChatMemberAdministrator, ChatMemberRestricted

from adapters.telegram.bot_api import TelegramApi
from adapters.telegram.bot_client import translate_errors
from bot.commands import Answer, answer_of
from bot.ports.platform_answers import NotPermitted, PlatformError, Undeliverable

CACHE_S = 600.0
_ADMINS = (ChatMember.OWNER, ChatMember.ADMINISTRATOR)


@dataclass(frozen=True)
class ChatPermissions:
    """Cached for ten minutes per group; if Telegram does not answer, everything is assumed to be allowed."""

    api: TelegramApi
    clock: Callable[[], float] = time.monotonic
    _known: dict[int, tuple[float, bool, bool]] = field(default_factory=dict)

    async def can_answer(self, chat: int, command: str) -> bool:
        """Whether the answer to this command may be posted there."""
        if chat > 0:
            return True
        known = self._known.get(chat)
        if known is None or known[0] < self.clock() - CACHE_S:
            known = self._known[chat] = (self.clock(), *await self._fetch_permissions(chat))
        _, may_write, may_show = known
        return may_write and (may_show or answer_of(command) is not Answer.IMAGES)

    async def is_chat_admin(self, chat: int, user: int) -> bool:
        """Whether the person is an admin of the chat; asked each time, as it may end. False: Telegram does not say."""
        try:
            with translate_errors():
                return (await self.api.bot.get_chat_member(chat, user)).status in _ADMINS
        except PlatformError:
            return False

    def forget(self, chat: int) -> None:
        """They have changed."""
        self._known.pop(chat, None)

    async def _fetch_permissions(self, chat: int) -> tuple[bool, bool]:
        try:
            with translate_errors():
                member = await self.api.bot.get_chat_member(chat, self.api.bot.id)
                if isinstance(member, ChatMemberAdministrator):
                    return True, True
                if isinstance(member, ChatMemberRestricted):
                    return member.can_send_messages, member.can_send_messages and member.can_send_photos
                default = (await self.api.bot.get_chat(chat)).permissions
        except (NotPermitted, Undeliverable):
            return False, False
        except PlatformError:
            return True, True
        if default is None:
            return True, True
        return default.can_send_messages is not False, default.can_send_photos is not False
