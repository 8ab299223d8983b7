"""Parses messages to the bot. Pure: a Telegram message in, an `IncomingMessage` out.

In a group the bot answers when it is addressed: by a command, by its name, or by a reply. Everything else is other
people's conversation. In a private chat every message is for the bot.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from telegram import (
    Document,
    ExternalReplyInfo,
    Message,
    MessageEntity,
    MessageOriginChannel,
    MessageOriginChat,
    MessageOriginUser,
    PhotoSize,
    Sticker,
    User,
)

from adapters.telegram.update_types import is_update, update_id_of
from bot.chat.commands import CHAT_COMMANDS
from bot.chat.file_types import is_other_media, may_be_picture
from bot.chat.question_detector import is_question
from bot.commands import COMMANDS

log = structlog.get_logger()

_SLASH_COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@(\w{3,32}))?(?=\s|$)\s*(.*)", re.DOTALL)
_FIRST_WORD = re.compile(r"([a-z]+)\b[:,]?\s*(.*)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Photo:
    """A photo by Telegram's ids. `unique_id` stays the same for the same file, however often it is sent.

    `author`: the account that posted it first; see `ImageRef`.
    """

    file_id: str
    unique_id: str
    size: int
    author: str = ""


@dataclass(frozen=True, kw_only=True)
class IncomingMessage:
    """One message to the bot.

    Attributes:
        command: the command's name; "" if there is none.
        text: what follows the command; without one, the message's text without the bot's name.
        photos: its own photos.
        replied_photos: the photos of the message it replies to, unless that is the bot's.
        replied_bot_message: the id of the bot's message it replies to; 0: none.
        is_unreadable: a sticker, a video, a poll: nothing that a model can read.
        is_addressed: it is a command, names the bot or replies to it.
        has_spoiler: its content is hidden, so its result will be as well.
    """

    message: Message
    command: str = ""
    text: str = ""
    photos: tuple[Photo, ...] = ()
    replied_photos: tuple[Photo, ...] = ()
    replied_bot_message: int = 0
    is_unreadable: bool = False
    is_addressed: bool = False
    has_spoiler: bool = False

    @property
    def is_private(self) -> bool:
        return self.message.chat.type == "private"


def author_of(message: Message) -> str:
    """The account that posted a message: a person, or a group or channel for its anonymous admins."""
    if message.sender_chat is not None:
        return str(message.sender_chat.id)
    return str(message.from_user.id) if message.from_user else ""


def parse_message(message: Message, me: User, plugin_commands: Collection[str] = ()) -> IncomingMessage | None:
    """None: the message is not for the bot."""
    if _is_not_from_person(message):
        return None
    text, is_mentioned = _without_mention(message.text or message.caption or "", message, me)
    photos = _own_photos(message, any_file=bool(_named_command(text)) or is_question(text))
    incoming = IncomingMessage(
        message=message,
        photos=photos,
        replied_photos=_replied_photos(message, me),
        replied_bot_message=_replied_bot_message(message, me),
        is_unreadable=not photos and _is_unreadable(message),
        has_spoiler=_has_spoiler(message),
    )
    if (command := _SLASH_COMMAND.match(message.text or message.caption or "")) is not None:
        return _parse_command(incoming, me, *command.groups(), plugin_commands=plugin_commands)
    is_addressed = is_mentioned or incoming.replied_bot_message > 0
    if not incoming.is_private and not is_addressed:
        return None
    if not (text or incoming.photos or incoming.is_unreadable or is_addressed):
        return None  # a service message: somebody joined, a title changed
    return _parse_plain_text(replace(incoming, text=text.strip(), is_addressed=is_addressed))


def parse_album(messages: Sequence[Message], me: User, plugin_commands: Collection[str] = ()) -> IncomingMessage | None:
    """One message of an album's parts, in the order they were sent; the first part with a text gives the text."""
    parts = sorted(messages, key=lambda message: message.message_id)
    parsed = [one for one in (parse_message(message, me, plugin_commands) for message in parts) if one is not None]
    main = next((one for one in parsed if one.command or one.text), parsed[0] if parsed else None)
    if main is None:
        return None
    photos = tuple(photo for message in parts for photo in photos_of(message, any_file=bool(main.command)))
    return replace(main, photos=photos, has_spoiler=any(_has_spoiler(message) for message in parts))


def _is_not_from_person(message: Message) -> bool:
    """Posts of other bots, and of a channel in its linked group, are ignored."""
    author = message.from_user
    if author is None or message.is_automatic_forward or message.via_bot:
        return True
    return author.is_bot and message.sender_chat is None


def _parse_command(
    incoming: IncomingMessage,
    me: User,
    name: str,
    bot_name: str | None,
    text: str,
    *,
    plugin_commands: Collection[str] = (),
) -> IncomingMessage | None:
    """None: the command names another bot, or is unknown in a group and may be another bot's."""
    if bot_name is not None and bot_name.casefold() != (me.username or "").casefold():
        return None
    command = name.casefold()
    is_known = command in COMMANDS or command in CHAT_COMMANDS or command in plugin_commands
    if not (incoming.is_private or bot_name or is_known):
        return None
    is_about_image = command in COMMANDS and COMMANDS[command].images_needed > 0
    return replace(
        incoming,
        command=command,
        text=text.strip(),
        photos=photos_of(incoming.message, any_file=command in COMMANDS or command in plugin_commands),
        replied_photos=_replied_photos(incoming.message, me, any_file=is_about_image),
        is_addressed=True,
    )


def _parse_plain_text(incoming: IncomingMessage) -> IncomingMessage:
    """A caption that begins with a command's name, or is a question, means that command; not if it was forwarded."""
    if not (incoming.photos or incoming.replied_photos) or incoming.message.forward_origin is not None:
        return incoming
    if (command := _named_command(incoming.text)) and incoming.photos:
        return replace(incoming, command=command[0], text=command[1])
    if incoming.text and is_question(incoming.text):
        return replace(incoming, command="ask")
    if incoming.is_addressed and not incoming.text and not incoming.is_private:
        return replace(incoming, command="caption")
    return incoming


def _named_command(text: str) -> tuple[str, str] | None:
    """The command that the text's first word names, and the rest of the text."""
    match = _FIRST_WORD.match(text.strip())
    if match is None or match.group(1).casefold() not in COMMANDS:
        return None
    return match.group(1).casefold(), match.group(2).strip()


def _replied_bot_message(message: Message, me: User) -> int:
    replied = message.reply_to_message
    if replied is None or replied.forum_topic_created or replied.from_user is None:
        return 0
    return replied.message_id if replied.from_user.id == me.id else 0


def _without_mention(text: str, message: Message, me: User) -> tuple[str, bool]:
    """The text without the bot's @name, and whether it contained it."""
    name = f"@{me.username}".casefold()
    entities = message.parse_entities([MessageEntity.MENTION]) or message.parse_caption_entities(
        [MessageEntity.MENTION]
    )
    if not any(mention.casefold() == name for mention in entities.values()):
        return text, False
    return re.sub(rf"{re.escape(name)}\b[,:;]?", " ", text, flags=re.IGNORECASE).strip(), True


# ---------------------------------------------------------------- pictures


def photos_of(message: Message | ExternalReplyInfo, *, any_file: bool = False) -> tuple[Photo, ...]:
    """A photo in its largest size, a sticker that does not move, or a picture sent as a file.

    `any_file`: a command is about it, so its bytes decide what it is, whatever its sender's program says.
    """
    if message.photo:
        largest = max(message.photo, key=lambda size: size.width * size.height)
        return (_photo(largest, message),)
    sticker, document = message.sticker, message.document
    if sticker is not None and not (sticker.is_animated or sticker.is_video):
        return (_photo(sticker, message),)
    if document is not None and not message.animation:
        said = document.mime_type or ""
        if may_be_picture(said, document.file_name or "") or (any_file and not is_other_media(said)):
            return (_photo(document, message),)
    return ()


def _own_photos(message: Message, *, any_file: bool = False) -> tuple[Photo, ...]:
    """A sticker that somebody sends is a remark; it is a picture for those who reply to it with a command."""
    return () if message.sticker is not None else photos_of(message, any_file=any_file)


def _photo(file: PhotoSize | Document | Sticker, message: Message | ExternalReplyInfo) -> Photo:
    return Photo(file.file_id, file.file_unique_id, file.file_size or 0, _original_author(message))


UNKNOWN_AUTHOR = "unknown"
"""The author of a photo whose origin is not known."""


def _original_author(message: Message | ExternalReplyInfo) -> str:
    """The account that first posted it, across forwards."""
    origin = message.origin if isinstance(message, ExternalReplyInfo) else message.forward_origin
    match origin:
        case None:
            return author_of(message) if isinstance(message, Message) else UNKNOWN_AUTHOR
        case MessageOriginUser(sender_user=user):
            return str(user.id)
        case MessageOriginChat(sender_chat=chat) | MessageOriginChannel(chat=chat):
            return str(chat.id)
    return UNKNOWN_AUTHOR


def _replied_photos(message: Message, me: User, *, any_file: bool = False) -> tuple[Photo, ...]:
    """The photos of the message replied to, here or in another chat. The bot's own are found by their jobs."""
    replied = message.reply_to_message
    if replied is not None:
        return () if _replied_bot_message(message, me) else photos_of(replied, any_file=any_file)
    return photos_of(message.external_reply, any_file=any_file) if message.external_reply else ()


def _has_spoiler(message: Message) -> bool:
    """Whether it has a hidden photo or text, or replies to a hidden photo, here or in another chat."""
    replied = message.reply_to_message or message.external_reply
    hidden = [entity.type for entity in (*message.entities, *message.caption_entities)]
    return bool(message.has_media_spoiler or MessageEntity.SPOILER in hidden or (replied and replied.has_media_spoiler))


_UNREADABLE_KINDS = (
    "sticker", "video", "video_note", "voice", "audio", "animation", "poll", "document", "location", "contact", "dice",
    "story",
)  # fmt: skip
_KEPT_FIELDS = (
    "message_id", "date", "chat", "from", "sender_chat", "text", "caption", "entities", "caption_entities", "photo",
    "document", "media_group_id", "message_thread_id", "is_topic_message", "has_media_spoiler", "is_automatic_forward",
    "forward_origin",
)  # fmt: skip


def _is_unreadable(message: Message) -> bool:
    return any(getattr(message, kind) for kind in _UNREADABLE_KINDS)


_KEPT_PRESS_FIELDS = ("id", "from", "chat_instance", "data")


def readable_update(raw: Any) -> dict[str, Any] | None:
    """The update, or what is needed of it, if that can be read. None: nothing of it can, which is logged."""
    if is_update(raw):
        return dict(raw)
    if update_id_of(raw) is not None:
        reduced = reduce_update(raw)
        for form in (reduced, _without_reply(reduced)):
            if is_update(form):
                return form
    log.warning("an update could not be read", action="update_dropped", update=update_id_of(raw))
    return None


def reduce_update(raw: Mapping[str, Any]) -> dict[str, Any]:
    """An update with only the fields that are needed, for when the library cannot parse all of it."""
    message, press = raw.get("message"), raw.get("callback_query")
    if isinstance(message, dict):
        return {"update_id": raw["update_id"], "message": _reduce_message(message)}
    if not isinstance(press, dict):
        return dict(raw)
    kept = {name: press[name] for name in _KEPT_PRESS_FIELDS if name in press}
    if isinstance(press.get("message"), dict):
        kept["message"] = _reduce_message(press["message"])
    return {"update_id": raw["update_id"], "callback_query": kept}


def _without_reply(reduced: dict[str, Any]) -> dict[str, Any]:
    """The message without the one that it replies to."""
    message = reduced.get("message")
    if not isinstance(message, dict):
        return reduced
    return {**reduced, "message": {name: one for name, one in message.items() if name != "reply_to_message"}}


def _reduce_message(message: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: message[name] for name in _KEPT_FIELDS if name in message}
    if any(kind in message and kind != "document" for kind in _UNREADABLE_KINDS):
        kept["dice"] = {"emoji": "\U0001f3b2", "value": 1}  # stands for everything unreadable
    if isinstance(message.get("reply_to_message"), dict):
        kept["reply_to_message"] = _reduce_message(message["reply_to_message"])
    return kept
