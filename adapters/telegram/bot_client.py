"""The Bot API client of python-telegram-bot, with its errors translated by what they mean.

Each answer is first checked for the Bot API's own shape: the library goes by the status alone, which may be that of a
proxy or a firewall. Outside of the adapter its exceptions are `PlatformError`s.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog
from telegram import Bot
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    EndPointNotFound,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
    TimedOut,
)

from adapters.telegram.error_descriptions import FileTooBig, FileUnavailable, meaning_of
from adapters.telegram.file_request import FileRequest
from adapters.telegram.rate_limit import TelegramRateLimiter
from adapters.telegram.settings import TelegramSettings
from bot.ports.platform_answers import (
    PAGE_PATIENCE,
    PlatformError,
    TokenRefused,
    UnclearAnswer,
    Undeliverable,
    bounded_wait_s,
)

log = structlog.get_logger()

API_BASE = "https://api.telegram.org/bot"
FILE_BASE = "https://api.telegram.org/file/bot"
CONNECTIONS = 16
"""Enough for 27 messages per second of 0.5 s each; httpcore scans all connections for each request."""
REFUSED_RETRY_S = 60.0
"""Retry interval while the token is refused: the owner may fix it."""
TOO_LARGE = "the request is too large"
TOKEN_UNKNOWN = ("Not Found", "Unauthorized")
"""Descriptions of a 404 that is about the token; other ones are about a method that the server does not have."""


class NotReached(PlatformError):
    """The request was never sent."""


class NoResponse(PlatformError):
    """No response: the request may have been executed."""


class UnreadableResponse(Undeliverable):
    """Executed, but the library could not parse the response: a retry would post it twice."""


class PollingConflict(PlatformError):
    """Another program receives this bot's updates."""


class ChatMoved(PlatformError):
    """The group became a supergroup."""

    def __init__(self, chat: int) -> None:
        super().__init__("the chat has moved")
        self.chat = chat


class FileGone(NetworkError):
    """Telegram has no such file: the library would take its 404 for a refused token."""


class NotTheBotApi(NetworkError):
    """The answer does not have the Bot API's shape: a proxy's or firewall's page, an empty body."""


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
    return CheckedRequest(
        connection_pool_size=connections,
        read_timeout=20,
        write_timeout=20,
        connect_timeout=10,
        pool_timeout=30,
        media_write_timeout=60,
        httpx_kwargs={"limits": httpx.Limits(max_connections=connections, keepalive_expiry=30), **more},
    )


class CheckedRequest(FileRequest):
    """Raises `NotTheBotApi` for an answer of another shape, before the library goes by its status."""

    async def do_request(self, url: str, method: str, *args: Any, **more: Any) -> tuple[int, bytes]:
        status, body = await super().do_request(url, method, *args, **more)
        if status >= 500:
            raise NetworkError(f"{status}")  # whatever the body: the library logs a page with its traceback
        if status == 413:
            raise NetworkError(TOO_LARGE)
        if method == "GET" and status == 200:
            if not _is_not_html(body):
                raise NotTheBotApi("a page instead of a file")
            return status, body
        _check_answer(url.rpartition("/")[2], status, body)
        if method == "GET" and status == 404:
            raise FileGone("no such file")
        return status, body


def _check_answer(api_method: str, status: int, body: bytes) -> None:
    """Raises: RetryAfter, BadRequest, NotTheBotApi."""
    answer = _parse_object(body)
    parameters = answer.get("parameters", {})
    if status == 429 or (isinstance(parameters, dict) and "retry_after" in parameters):
        asked = parameters.get("retry_after") if isinstance(parameters, dict) else None
        raise RetryAfter(timedelta(seconds=bounded_wait_s(asked)))
    is_success = 200 <= status < 300
    if not (_is_success(api_method, answer) if is_success else _is_refusal(answer)):
        raise NotTheBotApi(f"{status} with another shape")
    if status == 404 and answer["description"] not in TOKEN_UNKNOWN:
        raise BadRequest(answer["description"])


def _parse_object(body: bytes) -> dict[str, Any]:
    """Empty: it is no JSON object."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _is_success(api_method: str, answer: Mapping[str, Any]) -> bool:
    if answer.get("ok") is not True or "result" not in answer:
        return False
    result = answer["result"]
    if api_method == "sendMediaGroup":
        return isinstance(result, list) and bool(result) and all(map(_is_message, result))
    if api_method.startswith("editMessage"):
        return result is True or _is_message(result)
    return not api_method.startswith("send") or _is_message(result)


def _is_message(result: object) -> bool:
    return isinstance(result, dict) and type(result.get("message_id")) is int


def _is_refusal(answer: Mapping[str, Any]) -> bool:
    if type(answer.get("error_code")) is not int or not isinstance(answer.get("description"), str):
        return False
    parameters = answer.get("parameters", {})
    if not isinstance(parameters, dict):
        return False
    moved_to = parameters.get("migrate_to_chat_id", 1)
    return type(moved_to) is int and 0 < abs(moved_to) < 2**63


def _is_not_html(body: bytes) -> bool:
    """A picture or any other file: a page of a firewall has status 200 too."""
    return not body[:64].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def _file_base(api_base: str) -> str:
    return FILE_BASE if api_base == API_BASE else api_base.removesuffix("bot").rstrip("/") + "/file/bot"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# ---------------------------------------------------------------- errors


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
    except FileGone as error:
        raise FileUnavailable(error.message) from error
    except NotTheBotApi as error:
        raise UnclearAnswer(error.message, patience=PAGE_PATIENCE) from error
    except (InvalidToken, EndPointNotFound) as error:  # the library takes a refused token for a missing method
        if rate_limiter is not None:
            rate_limiter.pause_all(REFUSED_RETRY_S)
        raise TokenRefused("the token was refused", retry_after_s=REFUSED_RETRY_S) from error
    except (BadRequest, Forbidden) as error:
        raise _error_from_description(error.message) from error
    except (TimedOut, NetworkError) as error:
        raise _error_from_network(error) from error
    except TelegramError as error:
        raise UnclearAnswer(error.message) from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        log.warning("an answer could not be read", action="answer_unreadable", error=repr(error)[:200])
        raise UnreadableResponse(f"a response that cannot be parsed: {type(error).__name__}") from error


def _seconds(span: int | float | timedelta) -> float:
    return span.total_seconds() if isinstance(span, timedelta) else float(span)


def _error_from_description(message: str) -> PlatformError:
    return (meaning_of(message) or UnclearAnswer)(message)


def _error_from_network(error: NetworkError) -> PlatformError:
    if "too large" in error.message.casefold():
        return FileTooBig(error.message)
    never_sent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
    if isinstance(error.__cause__, never_sent):
        return NotReached(type(error.__cause__).__name__)
    if isinstance(error.__cause__, httpx.HTTPError):
        return NoResponse("no response")
    return PlatformError(type(error.__cause__ or error).__name__)
