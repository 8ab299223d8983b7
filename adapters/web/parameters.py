"""Parameters that several routes have: the pages of a list, numbers in a path, times."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Query

from bot.errors import InvalidOption, NotFound

MAX_PAGE = 100
MAX_CURSOR = 200
MAX_WORDS = 200
"""Characters of what is searched for."""
_MAX_DIGITS = 9
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_SECONDS = re.compile(r"[0-9]{1,11}(\.[0-9]{1,6})?")
_SPACED_OFFSET = re.compile(r"(T\S+) (\d\d:\d\d)$")


@dataclass(frozen=True)
class ListSlice:
    """Which page of a list: `before` is the `next` of the one before it."""

    before: str | None
    limit: int


def _slice_reader(default: int) -> Callable[..., ListSlice]:
    sizes = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": default}

    def read_slice(
        before: Annotated[str | None, Query(description="The previous response's `next`")] = None,
        limit: Annotated[str, Query(description="Page size", json_schema_extra=sizes)] = str(default),
    ) -> ListSlice:
        """Raises: InvalidOption."""
        return ListSlice(check_cursor("before", before), _parse_limit(limit))

    return read_slice


SliceOf20 = Annotated[ListSlice, Depends(_slice_reader(20))]
SliceOf50 = Annotated[ListSlice, Depends(_slice_reader(50))]


def check_cursor(option: str, cursor: str | None) -> str | None:
    """Raises: InvalidOption."""
    if cursor is not None and not 1 <= len(cursor) <= MAX_CURSOR:
        raise InvalidOption(option, "body", allowed="it must be the previous response's next")
    return cursor


def _parse_limit(text: str) -> int:
    if len(text) > _MAX_DIGITS or not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_PAGE):
        raise InvalidOption("limit", "range", value=text[:40], allowed=f"1 to {MAX_PAGE}")
    return int(text)


def require_number(text: str, kind: str = "picture") -> int:
    """A number from 1 in a path. `kind`: what it counts. Raises: NotFound."""
    if not _NUMBER.fullmatch(text):
        raise NotFound(kind, text[:40])
    return int(text)


def check_words(option: str, text: str, *, longest: int = MAX_WORDS) -> str:
    """What is searched for. Raises: InvalidOption."""
    if len(text) > longest:
        raise InvalidOption(option, "long", value=len(text), allowed=str(longest))
    return text.replace("\0", " ")


def parse_time(option: str, text: str, *, allows_seconds: bool = False) -> datetime | None:
    """ISO 8601, without a time zone UTC; in a query, the `+` of one is often sent as a space. None: it is empty.

    Raises: InvalidOption.
    """
    if not text:
        return None
    try:
        if allows_seconds and _SECONDS.fullmatch(text):
            return datetime.fromtimestamp(float(text), UTC)
        when = datetime.fromisoformat(_SPACED_OFFSET.sub(r"\1+\2", text[:40]))
        return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidOption(option, "body", allowed="it must be a time such as 2026-11-30T12:00:00Z") from error


def parse_flag(name: str, text: str) -> bool:
    """Raises: InvalidOption."""
    if text not in ("true", "false", ""):
        raise InvalidOption(name, "choice", value=text[:40], allowed="true, false")
    return text == "true"


JsonSchema = dict[str, Any]
FLAG: JsonSchema = {"type": "boolean", "default": False}
"""The OpenAPI schema of what `parse_flag` reads."""


def body_of(name: str, *, is_required: bool = True) -> JsonSchema:
    """The OpenAPI description of a body that the route reads itself."""
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"requestBody": {"required": is_required, "content": {"application/json": {"schema": schema}}}}
