"""What a message asks of us, if anything. Pure: a message in, what was heard out.

In a group the bot answers when it is spoken to: by a command, by its name, or by a reply. Everything else is people's
own talk, and silence is what they expect. In a private chat everything is meant for it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from telegram import (
    Document,
    ExternalReplyInfo,
    Message,
    MessageEntity,
    MessageOriginChannel,
    MessageOriginChat,
    MessageOriginUser,
    PhotoSize,
    User,
)

from bot.chat.question_detector import is_question
from bot.commands import COMMANDS

_COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@(\w{3,32}))?(?=\s|$)\s*(.*)", re.DOTALL)
_VERB = re.compile(r"([a-z]+)\b[:,]?\s*(.*)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Photo:
    """A picture as Telegram names it. `unique_id` is the same for the same file, however often it is sent.

    `author`: the account that posted it first; see `ImageRef`.
    """

    file_id: str
    unique_id: str
    size: int
    author: str = ""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One thing said to the bot.

    Attributes:
        verb: the command's name; "" when there was none.
        words: what came with it.
        photos: the pictures it brought.
        shown: the pictures of the message it replies to, when they are somebody's own.
        answered: the bot's own message that it replies to, or 0.
        is_unreadable: a sticker, a video, a poll: nothing that can be looked at.
        is_named: it is a command, names the bot or replies to it.
        has_spoiler: what it brought was hidden, so what comes of it will be.
    """

    message: Message
    verb: str = ""
    words: str = ""
    photos: tuple[Photo, ...] = ()
    shown: tuple[Photo, ...] = ()
    answered: int = 0
    is_unreadable: bool = False
    is_named: bool = False
    has_spoiler: bool = False

    @property
    def is_private(self) -> bool:
        return self.message.chat.type == "private"


def author_of(message: Message) -> str:
    """The account that a message speaks for: a person, or the group or channel behind which somebody hides."""
    if message.sender_chat is not None:
        return str(message.sender_chat.id)
    return str(message.from_user.id) if message.from_user else ""


def hear(message: Message, me: User) -> Heard | None:
    """None: it is not for us."""
    if _is_no_person(message):
        return None
    text = message.text or message.caption or ""
    heard = Heard(
        message=message,
        photos=photos_of(message),
        shown=_shown(message, me),
        answered=_answered(message, me),
        is_unreadable=_is_unreadable(message),
        has_spoiler=_has_spoiler(message),
    )
    if (command := _COMMAND.match(text)) is not None:
        return _command(heard, me, *command.groups())
    words, is_named = _without_name(text, message, me)
    is_named = is_named or heard.answered > 0
    if not heard.is_private and not is_named:
        return None
    if not (words or heard.photos or heard.is_unreadable or is_named):
        return None  # somebody joined, a title changed
    return _plain(replace(heard, words=words.strip(), is_named=is_named))


def hear_album(messages: Sequence[Message], me: User) -> Heard | None:
    """One request of an album's parts, in the order in which they were sent: the part with words speaks for all."""
    parts = sorted(messages, key=lambda message: message.message_id)
    heard = [one for one in (hear(message, me) for message in parts) if one is not None]
    spoken = next((one for one in heard if one.verb or one.words), heard[0] if heard else None)
    if spoken is None:
        return None
    photos = tuple(photo for message in parts for photo in photos_of(message))
    return replace(spoken, photos=photos, has_spoiler=any(_has_spoiler(message) for message in parts))


def _is_no_person(message: Message) -> bool:
    """Bots never talk to bots, and a channel's posts in its group are not for us."""
    author = message.from_user
    if author is None or message.is_automatic_forward or message.via_bot:
        return True
    return author.is_bot and message.sender_chat is None


def _command(heard: Heard, me: User, name: str, bot_name: str | None, words: str) -> Heard | None:
    """A command may name its bot; one of another bot's is none of ours, and an unknown one in a group may be."""
    if bot_name is not None and bot_name.casefold() != (me.username or "").casefold():
        return None
    verb = name.casefold()
    if not (heard.is_private or bot_name or verb in KNOWN):
        return None
    return replace(heard, verb=verb, words=words.strip(), is_named=True)


CHAT_VERBS = ("queue", "cancel", "history", "show", "quota", "settings", "models", "help", "start", "privacy", "admin")
KNOWN = frozenset((*COMMANDS, *CHAT_VERBS))


def _plain(heard: Heard) -> Heard:
    """A caption that begins with a verb, or asks something, means that verb. What somebody else wrote does not."""
    if not (heard.photos or heard.shown) or heard.message.forward_origin is not None:
        return heard
    verb = _VERB.match(heard.words)
    if verb is not None and verb.group(1).casefold() in COMMANDS and heard.photos:
        return replace(heard, verb=verb.group(1).casefold(), words=verb.group(2).strip())
    if heard.words and (is_question(heard.words) or (heard.is_named and not heard.is_private)):
        return replace(heard, verb="ask")
    if heard.is_named and not heard.words and not heard.is_private:
        return replace(heard, verb="caption")
    return heard


def _answered(message: Message, me: User) -> int:
    replied = message.reply_to_message
    if replied is None or replied.forum_topic_created or replied.from_user is None:
        return 0
    return replied.message_id if replied.from_user.id == me.id else 0


def _without_name(text: str, message: Message, me: User) -> tuple[str, bool]:
    """The text without the bot's @name, and whether it was there."""
    name = f"@{me.username}".casefold()
    entities = message.parse_entities([MessageEntity.MENTION]) or message.parse_caption_entities(
        [MessageEntity.MENTION]
    )
    if not any(found.casefold() == name for found in entities.values()):
        return text, False
    return re.sub(re.escape(name), " ", text, flags=re.IGNORECASE).strip(), True


# ---------------------------------------------------------------- pictures


def photos_of(message: Message | ExternalReplyInfo) -> tuple[Photo, ...]:
    """A photo in its largest size, or a picture sent as a file."""
    if message.photo:
        largest = max(message.photo, key=lambda size: size.width * size.height)
        return (_photo(largest, message),)
    document = message.document
    if document is not None and not message.animation and (document.mime_type or "").startswith("image/"):
        return (_photo(document, message),)
    return ()


def _photo(file: PhotoSize | Document, message: Message | ExternalReplyInfo) -> Photo:
    return Photo(file.file_id, file.file_unique_id, file.file_size or 0, _first_author(message))


UNKNOWN = "unknown"
"""The author of a picture that might be anybody's."""


def _first_author(message: Message | ExternalReplyInfo) -> str:
    """Who posted it, however often it was forwarded since."""
    origin = message.origin if isinstance(message, ExternalReplyInfo) else message.forward_origin
    match origin:
        case None:
            return author_of(message) if isinstance(message, Message) else UNKNOWN
        case MessageOriginUser(sender_user=user):
            return str(user.id)
        case MessageOriginChat(sender_chat=chat) | MessageOriginChannel(chat=chat):
            return str(chat.id)
    return UNKNOWN


def _shown(message: Message, me: User) -> tuple[Photo, ...]:
    """The pictures of the message replied to, here or in another chat. Our own messages are looked up by their jobs."""
    replied = message.reply_to_message
    if replied is not None:
        return () if _answered(message, me) else photos_of(replied)
    return photos_of(message.external_reply) if message.external_reply else ()


def _has_spoiler(message: Message) -> bool:
    """A hidden photo, hidden words, or a hidden photo replied to."""
    replied = message.reply_to_message
    hidden = [entity.type for entity in (*message.entities, *message.caption_entities)]
    return bool(message.has_media_spoiler or MessageEntity.SPOILER in hidden or (replied and replied.has_media_spoiler))


_UNREADABLE = (
    "sticker", "video", "video_note", "voice", "audio", "animation", "poll", "document", "location", "contact", "dice",
    "story",
)  # fmt: skip
_NEEDED = (
    "message_id", "date", "chat", "from", "sender_chat", "text", "caption", "entities", "caption_entities", "photo",
    "document", "media_group_id", "message_thread_id", "is_topic_message", "has_media_spoiler", "is_automatic_forward",
    "forward_origin",
)  # fmt: skip


def _is_unreadable(message: Message) -> bool:
    return not photos_of(message) and any(getattr(message, kind) for kind in _UNREADABLE)


def simplified(raw: Mapping[str, Any]) -> dict[str, Any]:
    """An update with only what we look at, for when the library cannot read all that Telegram says of a message."""
    message = raw.get("message")
    if not isinstance(message, dict):
        return dict(raw)
    return {"update_id": raw["update_id"], "message": _simple(message)}


def _simple(message: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: message[name] for name in _NEEDED if name in message}
    if any(kind in message and kind != "document" for kind in _UNREADABLE):
        kept["dice"] = {"emoji": "\U0001f3b2", "value": 1}  # stands for all that cannot be looked at
    if isinstance(message.get("reply_to_message"), dict):
        kept["reply_to_message"] = _simple(message["reply_to_message"])
    return kept
