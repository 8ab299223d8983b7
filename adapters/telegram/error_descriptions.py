"""What the Bot API's error descriptions mean for a message of the bot.

A description that is not listed has an unknown meaning: it is tried a few times, and nothing is given up for it.

Source: the Bot API server's `Client.cpp` (tdlib/telegram-bot-api) and the error names of Telegram's own API.
"""

from bot.ports.platform_answers import MessageGone, NotPermitted, PlatformError, ReplyRejected, Undeliverable


class NotModified(PlatformError):
    """The message already has this content: counts as success."""


class WrongMessageKind(PlatformError):
    """The message is a picture where a text was expected, or vice versa."""


class PhotoRejected(PlatformError):
    """Telegram rejects this as a photo."""


class FileTooBig(PlatformError):
    """The file exceeds Telegram's limit."""


class FileUnavailable(PlatformError):
    """Telegram no longer has the file, or does not give it to this bot."""


class NotDeletable(PlatformError):
    """The message is too old to be deleted, or may not be."""


class TopicDeleted(PlatformError):
    """The forum topic was deleted."""


class QueryExpired(PlatformError):
    """The press of a button is too old to be answered."""


PHRASES: tuple[tuple[type[PlatformError], tuple[str, ...]], ...] = (
    (NotModified, ("message is not modified",)),
    (
        WrongMessageKind,
        (
            "there is no text in the message",
            "there is no caption in the message",
            "there is no media in the message",
            "can't be edited to",
        ),
    ),
    (
        ReplyRejected,
        ("message to be replied not found", "replied message not found", "reply message not found", "reply_message_id"),
    ),
    (
        MessageGone,
        (
            "message to edit not found",
            "message can't be edited",
            "message to delete not found",
            "message identifier is not specified",
            "message_id_invalid",
        ),
    ),
    (NotDeletable, ("message can't be deleted", "message_delete_forbidden")),
    (TopicDeleted, ("message thread not found", "topic_deleted", "topic deleted", "topic_id_invalid")),
    (
        PhotoRejected,
        (
            "photo_invalid_dimensions",
            "photo_invalid",
            "photo_save_file_invalid",
            "image_process_failed",
            "wrong type of the web page",
            "photo_ext_invalid",
        ),
    ),
    (FileTooBig, ("too large", "too big")),
    (FileUnavailable, ("wrong file", "file is temporarily unavailable", "file reference", "file_reference")),
    (QueryExpired, ("query is too old", "query_id_invalid")),
    (
        NotPermitted,
        (
            "bot was blocked",
            "bot was kicked",
            "bot is not a member",
            "bot can't initiate",
            "bot can't send messages",
            "not enough rights",
            "have no rights",
            "need administrator rights",
            "chat_write_forbidden",
            "chat_admin_required",
            "chat_restricted",
            "chat_send_",
            "chat_guest_send_forbidden",
            "channel_private",
            "topic_closed",
            "topic closed",
            "user_is_blocked",
            "you_blocked_user",
            "user_privacy_restricted",
            "voice_messages_forbidden",
            "allow_payment_required",
        ),
    ),
    (
        Undeliverable,
        (
            "chat not found",
            "user not found",
            "user is deactivated",
            "user_is_bot",
            "user_is_deleted",
            "input_user_deactivated",
            "peer_id_invalid",
            "chat_id_invalid",
            "channel_invalid",
            "group chat was deactivated",
            "group chat was deleted",
            "message text is empty",
            "message is too long",
            "message caption is too long",
            "message_too_long",
            "media_caption_too_long",
            "can't parse",
            "button_data_invalid",
            "reply_markup_too_long",
        ),
    ),
)
"""By meaning, in lower case; the first that the description contains decides."""


def meaning_of(description: str) -> type[PlatformError] | None:
    """None: unknown."""
    folded = description.casefold()
    return next((meaning for meaning, phrases in PHRASES if any(phrase in folded for phrase in phrases)), None)
