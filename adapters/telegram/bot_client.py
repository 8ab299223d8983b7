"""The Bot API client of python-telegram-bot, with its errors classified.

Only this module matches the Bot API's error descriptions. Outside of the adapter its exceptions are `PlatformError`s.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx
from telegram import Bot
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
    TimedOut,
)

from adapters.telegram.file_request import FileRequest
from adapters.telegram.rate_limit import TelegramRateLimiter
from adapters.telegram.settings import TelegramSettings
from bot.errors import MessageGone, PlatformError, Undeliverable

API_BASE = "https://api.telegram.org/bot"
FILE_BASE = "https://api.telegram.org/file/bot"
CONNECTIONS = 16
"""Enough for 27 messages per second of 0.5 s each; httpcore scans all connections for each request."""
REFUSED_RETRY_S = 60.0
"""Retry interval while the token is refused: the owner may fix it."""


class NotModified(PlatformError):
    """The message already has this content: counts as success."""


class WrongMessageKind(PlatformError):
    """The message is a picture where a text was expected, or vice versa."""


class PhotoRejected(PlatformError):
    """Telegram rejects this as a photo."""


class FileTooBig(PlatformError):
    """The file exceeds Telegram's limit."""


class TopicDeleted(PlatformError):
    """The forum topic was deleted."""


class NoResponse(PlatformError):
    """No response: the request may have been executed."""


class UnreadableResponse(Undeliverable):
    """Executed, but the library could not parse the response: a retry would post it twice."""


class TokenRefused(PlatformError):
    """The token is not, or no longer, a bot's."""


class PollingConflict(PlatformError):
    """Another program receives this bot's updates."""


class ChatMoved(PlatformError):
    """The group became a supergroup."""

    def __init__(self, chat: int) -> None:
        super().__init__("the chat has moved")
        self.chat = chat


def build_bot(settings: TelegramSettings, token: str) -> Bot:
    """Not yet connected. A loopback server is never accessed through a proxy."""
    os.environ.setdefault("PTB_TIMEDELTA", "true")  # the library's future types; it warns otherwise
    base = settings.api_base or API_BASE
    trust = {} if not _is_loopback(base) else {"trust_env": False}
    return Bot(
        token,
        base_url=base,
        base_file_url=settings.file_base or _file_base(base),
        request=_request(CONNECTIONS, trust),
        get_updates_request=_request(2, trust),
    )


def _request(connections: int, more: dict[str, bool]) -> FileRequest:
    return FileRequest(
        connection_pool_size=connections,
        read_timeout=20,
        write_timeout=20,
        connect_timeout=10,
        pool_timeout=30,
        media_write_timeout=60,
        httpx_kwargs={"limits": httpx.Limits(max_connections=connections, keepalive_expiry=30), **more},
    )


def _file_base(api_base: str) -> str:
    return FILE_BASE if api_base == API_BASE else api_base.removesuffix("bot").rstrip("/") + "/file/bot"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# ---------------------------------------------------------------- errors

_ERROR_PHRASES: tuple[tuple[type[PlatformError], tuple[str, ...]], ...] = (
    (NotModified, ("message is not modified",)),
    (WrongMessageKind, ("there is no text in the message", "there is no caption in the message", "can't be edited to")),
    (MessageGone, ("message to edit not found", "message can't be edited", "message_id_invalid", "message to delete")),
    (TopicDeleted, ("message thread not found", "topic_deleted", "topic deleted")),
    (
        PhotoRejected,
        ("photo_invalid_dimensions", "image_process_failed", "wrong type of the web page", "photo_ext_invalid"),
    ),
    (FileTooBig, ("too large", "too big")),
    (
        Undeliverable,
        (
            "chat not found",
            "user not found",
            "user is deactivated",
            "not enough rights",
            "have no rights",
            "need administrator rights",
            "chat_write_forbidden",
            "chat_send_",
            "topic_closed",
            "peer_id_invalid",
            "bot was kicked",
            "group chat was deactivated",
            "bot can't initiate",
        ),
    ),
)


@contextmanager
def translate_errors(rate_limiter: TelegramRateLimiter | None = None, chat: int = 0) -> Iterator[None]:
    """Translate the library's errors, and pause a flooded chat for as long as Telegram asks.

    Raises: PlatformError or its most specific subclass.
    """
    try:
        yield
    except RetryAfter as error:
        seconds = _seconds(error.retry_after)
        if rate_limiter is not None:
            rate_limiter.pause(chat, seconds)
        raise PlatformError("flood control", retry_after_s=seconds) from error
    except ChatMigrated as error:
        raise ChatMoved(error.new_chat_id) from error
    except Conflict as error:
        raise PollingConflict(error.message) from error
    except Forbidden as error:
        raise Undeliverable(error.message) from error
    except InvalidToken as error:
        raise TokenRefused("the token was refused", retry_after_s=REFUSED_RETRY_S) from error
    except BadRequest as error:
        raise _error_from_description(error.message) from error
    except (TimedOut, NetworkError) as error:
        raise _error_from_network(error) from error
    except TelegramError as error:
        raise PlatformError(error.message) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnreadableResponse(f"a response that cannot be parsed: {type(error).__name__}") from error


def _seconds(span: int | float | timedelta) -> float:
    return span.total_seconds() if isinstance(span, timedelta) else float(span)


def _error_from_description(message: str) -> PlatformError:
    folded = message.casefold()
    kind = next(
        (kind for kind, phrases in _ERROR_PHRASES if any(phrase in folded for phrase in phrases)), PlatformError
    )
    return kind(message)


def _error_from_network(error: NetworkError) -> PlatformError:
    if "too large" in error.message.casefold():
        return FileTooBig(error.message)
    never_sent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
    if isinstance(error.__cause__, httpx.HTTPError) and not isinstance(error.__cause__, never_sent):
        return NoResponse("no response")
    return PlatformError(type(error.__cause__ or error).__name__)
