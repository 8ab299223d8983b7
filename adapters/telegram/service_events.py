"""Events of a chat itself: its id changes, the bot is added or removed, its rights change, a topic is opened again.

What people wrote, and what waits for them, is kept in each case: a group that removes the bot may add it again.
"""

from collections.abc import Mapping
from typing import Any

import structlog
from telegram import ChatMember

from adapters.telegram.context import PLATFORM, TelegramContext

log = structlog.get_logger()

MEMBERSHIP = "my_chat_member"
SERVICE_FIELDS = ("migrate_to_chat_id", "migrate_from_chat_id", "forum_topic_reopened")
"""Fields of the service messages that are handled."""
_PRESENT = (ChatMember.OWNER, ChatMember.ADMINISTRATOR, ChatMember.MEMBER, ChatMember.RESTRICTED)


def is_service_update(raw: Mapping[str, Any]) -> bool:
    """Whether the update, as received, is about a chat itself."""
    message = raw.get("message")
    return MEMBERSHIP in raw or (isinstance(message, dict) and any(name in message for name in SERVICE_FIELDS))


class ServiceEventHandler:
    def __init__(self, context: TelegramContext) -> None:
        self._context = context

    async def handle(self, raw: Mapping[str, Any]) -> None:
        """`raw`: the update as received, of which these few fields are read. Raises: StorageBusy, StorageFull."""
        if MEMBERSHIP in raw:
            await self._change_membership(raw[MEMBERSHIP])
            return
        message = raw["message"]
        chat = message["chat"]["id"]
        if new := message.get("migrate_to_chat_id"):
            await self.move_chat(chat, new)
        elif old := message.get("migrate_from_chat_id"):
            await self.move_chat(old, chat)
        else:
            await self._retry_deliveries(chat)

    async def move_chat(self, old: int, new: int) -> None:
        """A group became a supergroup, which has another id. Raises: StorageBusy, StorageFull."""
        log.info("a group has another id", action="chat_moved")
        await self._context.usecases.moderation.move_space(PLATFORM, str(old), str(new))
        for chat in (old, new):
            self._context.delivery.permissions.forget(chat)

    async def _change_membership(self, event: Mapping[str, Any]) -> None:
        """The bot was added, removed or blocked, or has other rights."""
        status, chat = event.get("new_chat_member", {}).get("status", ""), event["chat"]["id"]
        log.info("the bot's place in a chat changed", action="membership_changed", status=status)
        self._context.delivery.permissions.forget(chat)
        if status in _PRESENT:
            await self._retry_deliveries(chat)

    async def _retry_deliveries(self, chat: int) -> None:
        await self._context.usecases.chat.retry_deliveries(PLATFORM, str(chat))
