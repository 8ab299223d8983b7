"""Translates Discord's errors into Easel's."""

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import discord

from bot.errors import MessageGone, PlatformError, Undeliverable

MESSAGE_GONE_CODE = 10008
NO_ACCESS_CODES = (50001, 50013, 50007, 10003, 50083, 160005, 50024)
"""Missing access or permission: not here, but perhaps elsewhere."""
TOKEN_EXPIRED_CODES = (50027, 10015, 10062)
EDIT_LIMIT_CODE = 30046
TOO_LARGE_CODE = 40005


class NoAccess(PlatformError):
    """The bot may not write there: take the next fallback."""


class FileTooLarge(PlatformError):
    """Smaller files may be accepted."""


class ContentRejected(Undeliverable):
    """This content will never be accepted; something simpler may be."""


class EditLimitReached(PlatformError):
    """The message may not be edited again: post a new one."""


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate errors of Discord and the network. Raises: PlatformError or a subclass."""
    try:
        yield
    except discord.RateLimited as error:
        raise PlatformError("Discord asks to wait", retry_after_s=error.retry_after) from error
    except discord.HTTPException as error:
        raise _to_platform_error(error) from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise PlatformError(f"no connection ({type(error).__name__})") from error


def _to_platform_error(error: discord.HTTPException) -> PlatformError:
    detail = f"{error.status} {error.code}"
    if error.status == 413 or error.code == TOO_LARGE_CODE:
        return FileTooLarge(detail)
    if error.code in (*TOKEN_EXPIRED_CODES, *NO_ACCESS_CODES):
        return NoAccess(detail)
    if error.code == MESSAGE_GONE_CODE:
        return MessageGone(detail)
    if error.code == EDIT_LIMIT_CODE:
        return EditLimitReached(detail)
    if error.status == 429:
        return PlatformError(detail, retry_after_s=_retry_after_s(error))
    if error.status in (401, 403, 404):
        return NoAccess(detail)
    if 400 <= error.status < 500:
        return ContentRejected(detail)
    return PlatformError(detail)


def _retry_after_s(error: discord.HTTPException) -> float:
    """As the response asks; 60 s if it does not say."""
    try:
        return float(error.response.headers.get("Retry-After", 60))
    except ValueError:
        return 60.0
