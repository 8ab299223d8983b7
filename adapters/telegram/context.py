"""What the modules of this adapter share: the API client, the use cases, the bot's own account."""

from dataclasses import dataclass

from telegram import Chat, Message, User

from adapters.telegram.attachments import PhotoUploads
from adapters.telegram.bot_api import ChatTarget, TelegramApi
from adapters.telegram.delivery import TelegramDelivery
from adapters.telegram.message_parsing import author_of
from adapters.telegram.responder import TelegramResponder
from adapters.telegram.settings import PLATFORM as PLATFORM
from bot.jobs import Origin
from bot.ports import Person
from bot.usecases import UseCases

EDIT_PROMPT, ASK_PROMPT, REMIX_PROMPT, EDIT_OR_ASK_OFFER = "#edit", "#ask", "#remix", "#offer"
STYLE_PROMPT, SUBJECT_PROMPT, REGION_PROMPT = "#style", "#subject", "#region"
"""Appended to the stored reference of a message of the bot: a reply to it is an edit, a question, another prompt, an
edit or a question, a prompt for a picture in the same style or with the same subject, or an edit of a part."""


@dataclass(frozen=True, kw_only=True)
class TelegramContext:
    api: TelegramApi
    usecases: UseCases
    photo_uploads: PhotoUploads
    delivery: TelegramDelivery
    responder: TelegramResponder
    admins: frozenset[str] = frozenset()

    @property
    def bot_user(self) -> User:
        return self.api.bot.bot

    def is_admin(self, account_id: str) -> bool:
        """Whether the account is an admin of this bot."""
        return account_id in self.admins

    async def identify_author(self, message: Message) -> Person:
        """The author of a message; for an anonymous admin of a group it is the group."""
        if message.sender_chat is not None:
            name = message.sender_chat.effective_name or ""
        else:
            name = (message.from_user.full_name or "") if message.from_user else ""
        return await self.usecases.people.identify_account(PLATFORM, author_of(message), name)

    async def identify_user(self, user: User) -> Person:
        return await self.usecases.people.identify_account(PLATFORM, str(user.id), user.full_name or "")


def build_origin(
    chat: Chat,
    target: ChatTarget,
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
        platform=PLATFORM,
        space_id=str(chat.id),
        account_id=account,
        chat_id=str(chat.id),
        thread_id=str(target.thread or ""),
        message_id=str(target.reply_to or ""),
        reply_to_id=str(reply_to or ""),
        locale=locale,
        is_admin=is_admin,
        extra=extra | ({"late_s": late_s} if late_s else {}),
    )
