"""Reads request bodies up to a size limit, and names the field that is invalid."""

import json
import re
from collections.abc import AsyncGenerator, Iterable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from adapters.web.problems import RequestRefused
from adapters.web.schemas import ImageBody
from bot.errors import InvalidOption
from bot.options import find_nearest

MAX_JSON = 256 * 1024
MAX_VALUES = 2000
"""Values of a JSON body, at all depths."""
BRACKETS_PER_VALUE = 5
"""Opening brackets of lists, and of texts, which may not be that long either."""
MAX_DEPTH = 8
"""Nesting depth of objects and lists."""
MAX_TEXT = 4096
"""Characters of a text, outside of `options`, which have limits of their own."""
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,200}")

Body = TypeVar("Body", bound=BaseModel)


async def read_json(
    request: Request, kind: type[Body], *, max_kib: int = MAX_JSON // 1024, max_values: int = MAX_VALUES
) -> Body:
    """The JSON body as `kind`. Raises: InvalidOption, Refused."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().casefold()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise RequestRefused("unsupported_media", "Send JSON with Content-Type: application/json.")
    too_large = RequestRefused("too_large", f"The request body is too large: at most {max_kib} KiB.")
    raw = b"".join([chunk async for chunk in read_limited(request, max_kib * 1024, too_large)])
    content = parse_json(raw, max_values)
    check_shape(content, max_values)
    return validate_body(content, kind)


def parse_json(raw: bytes, max_values: int = MAX_VALUES) -> dict[str, Any]:
    """The JSON object, of at most `max_values` objects. Raises: InvalidOption."""
    if raw.count(b"[") > BRACKETS_PER_VALUE * max_values:
        raise _too_many_values(max_values)
    count = 0

    def collect_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal count
        count += 1
        if count > max_values + 1:  # the body itself is none of its values
            raise _too_many_values(max_values)
        return _reject_duplicates(pairs)

    try:
        content = json.loads(raw, object_pairs_hook=collect_object)
    except RecursionError as error:
        raise InvalidOption("body", "body", allowed="it is nested too deeply") from error
    except ValueError as error:
        is_json = not isinstance(error, json.JSONDecodeError | UnicodeDecodeError)  # Python reads no longer numbers
        expected = "a number in it has too many digits" if is_json else "it must be a JSON object"
        raise InvalidOption("body", "body", allowed=expected) from error
    if not isinstance(content, dict):
        raise InvalidOption("body", "body", allowed="it must be a JSON object")
    return content


def _too_many_values(maximum: int) -> InvalidOption:
    return InvalidOption("body", "body", allowed=f"it may have at most {maximum} values")


def validate_body(content: Any, kind: type[Body]) -> Body:
    """Raises: InvalidOption, with the name of the first field that is invalid."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise _to_invalid_option(error, kind) from error


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise InvalidOption(name[:40], "twice")
        content[name] = value
    return content


def check_shape(content: dict[str, Any], max_values: int = MAX_VALUES) -> None:
    """Refuse a body with too many, too long or too deeply nested values. Raises: InvalidOption."""
    inside: list[tuple[str, Any]] = list(content.items())
    count = 0
    for _ in range(MAX_DEPTH):
        count += len(inside)
        if count > max_values:
            raise _too_many_values(max_values)
        for field, value in inside:
            if isinstance(value, str) and len(value) > MAX_TEXT and field != "options":
                raise InvalidOption(field[:40], "long", value=len(value), allowed=str(MAX_TEXT))
        inside = [(field, inner) for field, value in inside for inner in _values_in(value)]
        if not inside:
            return
    raise InvalidOption("body", "body", allowed=f"it may be nested at most {MAX_DEPTH} levels deep")


def _values_in(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _to_invalid_option(error: ValidationError, kind: type[BaseModel]) -> InvalidOption:
    """pydantic's first error as an InvalidOption."""
    first = error.errors(include_url=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"] if part not in ("str", "ImageBody"))[:80]
    if first["type"] == "extra_forbidden":
        known = list(kind.model_fields) if len(first["loc"]) == 1 else list(ImageBody.model_fields)
        near = find_nearest(name.rpartition(".")[2], known)
        return InvalidOption(name, "unknown", allowed=", ".join(known), nearest=near[0] if near else "")
    if first["type"] == "missing":
        return InvalidOption(name, "missing")
    return InvalidOption(name, "body", allowed=str(first["msg"]))


def read_idempotency_key(request: Request, caller_key: str) -> str | None:
    """`api:{key}:{Idempotency-Key}`; None without the header. Raises: InvalidOption."""
    header = request.headers.get("idempotency-key")
    if header is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(header):
        raise InvalidOption("Idempotency-Key", "key_long", allowed="200")
    return f"api:{caller_key}:{header}"


async def read_limited(request: Request, limit: int, error: Exception) -> AsyncGenerator[bytes, None]:
    """The body in chunks. Raises: `error`: it is longer than `limit` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise error
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise error
        yield chunk
