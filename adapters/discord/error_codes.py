"""What Discord's JSON error codes mean for a message of the bot.

A code that is not listed has an unknown meaning: it is tried a few times, and nothing is given up for it.

Source: Discord's developer documentation, "Opcodes and Status Codes", JSON Error Codes.
"""

from collections.abc import Mapping

from bot.ports.platform_answers import (
    MessageGone,
    NotPermitted,
    PlatformError,
    ReplyRejected,
    TokenRefused,
    Undeliverable,
)


class NoAccess(NotPermitted):
    """The bot may not write there: take the next fallback."""


class InteractionOver(NoAccess):
    """The interaction's token has expired, or Discord no longer waits for an answer."""


class ThreadArchived(NoAccess):
    """Its messages cannot be edited; a new one opens it again, unless it is locked."""


class FileTooLarge(PlatformError):
    """Smaller files may be accepted."""


class ContentRejected(Undeliverable):
    """This content will never be accepted; something simpler may be."""


class EditLimitReached(PlatformError):
    """The message may not be edited again: post a new one."""


class TryLater(PlatformError):
    """Discord itself says that it is busy, or that the bot writes too fast."""


_CODES_BY_MEANING: tuple[tuple[type[PlatformError], Mapping[int, str]], ...] = (
    (MessageGone, {
        10008: "Unknown Message",
        50005: "Cannot edit a message authored by another user",
        50021: "Cannot execute action on a system message",
    }),
    (InteractionOver, {
        10012: "Unknown token",
        10015: "Unknown webhook",
        10062: "Unknown interaction",
        40060: "Interaction has already been acknowledged",
        50027: "Invalid webhook token provided",
    }),
    (NoAccess, {
        10003: "Unknown channel",
        10004: "Unknown guild",
        10007: "Unknown member",
        10013: "Unknown user",
        20009: "Explicit content cannot be sent to the desired recipient(s)",
        40007: "The user is banned from this guild",
        50001: "Missing access",
        50003: "Cannot execute action on a DM channel",
        50007: "Cannot send messages to this user",
        50008: "Cannot send messages in a non-text channel",
        50009: "Channel verification level is too high for you to gain access",
        50013: "You lack permissions to perform that action",
        50024: "Cannot execute action on this channel type",
        50033: "Invalid recipient(s)",
        50278: "Cannot send messages to this user due to having no mutual guilds",
        160005: "This thread is locked",
        400001: "Access to file uploads has been limited for this guild",
    }),
    (ThreadArchived, {
        50083: "Tried to perform an operation on an archived thread",
    }),
    (FileTooLarge, {
        40005: "Request entity too large",
        50045: "File uploaded exceeds the maximum size",
    }),
    (EditLimitReached, {
        20022: "This message cannot be edited due to announcement rate limits",
        30046: "Maximum number of edits to messages older than 1 hour reached",
    }),
    (ReplyRejected, {
        160002: "Cannot reply without permission to read message history",
    }),
    (ContentRejected, {
        10014: "Unknown emoji",
        30015: "Maximum number of attachments in a message reached (10)",
        50006: "Cannot send an empty message",
        50035: "Invalid form body",
        50046: "Invalid file uploaded",
        50068: "Invalid message type",
        50109: "The request body contains invalid JSON",
        200000: "Message was blocked by automatic moderation",
        240000: "Message blocked by harmful links filter",
    }),
    (TokenRefused, {
        40001: "Unauthorized",
        40002: "You need to verify your account in order to perform this action",
        50014: "Invalid authentication token provided",
    }),
    (TryLater, {
        20016: "This action cannot be performed due to slowmode rate limit",
        20028: "The channel you are writing has hit the write rate limit",
        20029: "The write action you are performing on the server has hit the write rate limit",
        40003: "You are opening direct messages too fast",
        40004: "Send messages has been temporarily disabled",
        40006: "This feature has been temporarily disabled server-side",
        40062: "Service resource is being rate limited",
        110001: "Index not yet available. Try again later",
        130000: "API resource is currently overloaded. Try again a little later",
    }),
)  # fmt: skip
MEANINGS: Mapping[int, type[PlatformError]] = {code: meaning for meaning, codes in _CODES_BY_MEANING for code in codes}
