"""What everything that answers people shares: the wire, the use cases, who the bot is."""

from dataclasses import dataclass

from telegram import Chat, Message, User

from adapters.telegram.attachments import Pictures
from adapters.telegram.bot_api import Spot, Wire
from adapters.telegram.delivery import Replies
from adapters.telegram.message_parsing import author_of
from adapters.telegram.responder import Speaker
from bot.jobs import Origin
from bot.ports import Person
from bot.usecases import UseCases

NAME = "telegram"
EDIT, ASK, OFFER = "#edit", "#ask", "#offer"
"""What a message of ours was for, noted with its reference: a reply to it is a wish, a question; or it asks which."""


@dataclass(frozen=True, kw_only=True)
class Room:
    wire: Wire
    usecases: UseCases
    pictures: Pictures
    replies: Replies
    speaker: Speaker
    admins: frozenset[str] = frozenset()

    @property
    def me(self) -> User:
        return self.wire.bot.bot

    def is_admin(self, account_id: str) -> bool:
        """Whether the account may administer this house."""
        return account_id in self.admins

    async def person_of(self, message: Message) -> Person:
        """Who speaks; a group's admin who hides behind the group is the group."""
        if message.sender_chat is not None:
            name = message.sender_chat.effective_name or ""
        else:
            name = message.from_user.full_name if message.from_user else ""
        return await self.usecases.people.identify(NAME, author_of(message), name)

    async def person_of_user(self, user: User) -> Person:
        return await self.usecases.people.identify(NAME, str(user.id), user.full_name)


def origin_of(
    chat: Chat,
    spot: Spot,
    account: str,
    locale: str,
    *,
    reply_to: int = 0,
    has_spoiler: bool = False,
    late_s: int = 0,
    is_admin: bool = False,
) -> Origin:
    extra: dict[str, object] = {"spoiler": True} if has_spoiler else {}
    return Origin(
        platform=NAME,
        space_id=str(chat.id),
        account_id=account,
        chat_id=str(chat.id),
        thread_id=str(spot.thread or ""),
        message_id=str(spot.reply_to or ""),
        reply_to_id=str(reply_to or ""),
        locale=locale,
        is_admin=is_admin,
        extra=extra | ({"late_s": late_s} if late_s else {}),
    )
