"""Translates Discord's errors into Easel's, by what they mean: the status alone may be a proxy's or a firewall's."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import discord
import structlog

from adapters.discord.error_codes import MEANINGS, ContentRejected, FileTooLarge
from adapters.discord.library_patches import UNREADABLE
from bot.ports.platform_answers import (
    PAGE_PATIENCE,
    PlatformError,
    ReplyRejected,
    TokenRefused,
    UnclearAnswer,
    bounded_wait_s,
)

log = structlog.get_logger()

REFUSED_RETRY_S = 60.0
"""How long nothing is sent after Discord refused the token."""
FIREWALL_CODE = 40333
""""internal network error": Cloudflare's, in front of Discord."""
_GENERIC_TEXT = re.compile(r"(\d{3}): \w")
"""Discord's own text where it has no code: "401: Unauthorized"."""
_REPLY_FIELD = re.compile(r"\bmessage_reference\b")


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate errors of Discord and the network. Raises: PlatformError or a subclass."""
    try:
        yield
    except discord.RateLimited as error:
        raise PlatformError("Discord asks to wait", retry_after_s=bounded_wait_s(error.retry_after)) from error
    except discord.HTTPException as error:
        raise to_platform_error(error) from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise PlatformError(f"no connection ({type(error).__name__})") from error
    except UNREADABLE as error:
        log.warning("an answer could not be read", action="answer_unreadable", error=repr(error)[:200])
        raise UnclearAnswer(f"an answer of another shape ({type(error).__name__})", patience=PAGE_PATIENCE) from error


def to_platform_error(error: discord.HTTPException) -> PlatformError:
    """The error's meaning, by Discord's own words if there are any."""
    detail = f"{error.status} {error.code}"
    if error.status == 429:
        return PlatformError(detail, retry_after_s=bounded_wait_s(error.response.headers.get("Retry-After")))
    if error.status >= 500:
        return PlatformError(detail)
    if not _is_discords(error):
        return FileTooLarge(detail) if error.status == 413 else UnclearAnswer(f"{detail} page", patience=PAGE_PATIENCE)
    if is_token_refusal(error):
        return TokenRefused(detail, retry_after_s=REFUSED_RETRY_S)
    meaning = MEANINGS.get(error.code, UnclearAnswer)
    if meaning is ContentRejected and _REPLY_FIELD.search(error.text):
        meaning = ReplyRejected
    return meaning(detail)


def is_token_refusal(error: discord.HTTPException) -> bool:
    """Whether Discord itself refused the bot's token: a proxy's page says nothing about it."""
    if MEANINGS.get(error.code) is TokenRefused:
        return True
    return error.status == 401 and not error.code and _is_discords(error)


def _is_discords(error: discord.HTTPException) -> bool:
    """Whether the answer has Discord's shape: a number as its code, or its generic text."""
    if type(error.code) is not int or not isinstance(error.text, str) or error.code == FIREWALL_CODE:
        return False
    generic = _GENERIC_TEXT.match(error.text)
    return error.code > 0 or (generic is not None and generic.group(1) == str(error.status))
