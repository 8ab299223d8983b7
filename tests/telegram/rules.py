"""Whether a request is one that the Bot API describes: known names, everything required, right types, limits of prose.

`rules.json` is made by `make_rules`; the limits that its source has only in prose stand here.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

from tests.telegram.make_rules import RULES

MAX_TEXT = 4096
MAX_CAPTION = 1024
MAX_CALLBACK_DATA = 64
"""Bytes."""
MAX_ANSWER = 200


@lru_cache(maxsize=1)
def rules() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(RULES.read_text(encoding="utf-8"))
    return loaded


def problems_of(method: str, params: Mapping[str, Any], files: Collection[str] = ()) -> list[str]:
    """Sentences about what is wrong with a request. `params` as on the wire, JSON in texts; `files`: parts."""
    fields = rules()["methods"].get(method)
    if fields is None:
        return [f"{method} is not in rules.json"]
    named: set[str] = set()
    found = [f"{method}: {name} is unknown" for name in params if name not in fields]
    for name, (kinds, is_required) in fields.items():
        if name in params:
            found += [f"{method}.{name}{why}" for why in _check(_unpacked(params[name], kinds), kinds, named)]
        elif is_required and name not in files:
            found.append(f"{method}: {name} is missing")
    found += [f"{method}: nobody names the file {name}" for name in files if name not in fields and name not in named]
    found += [f"{method}: the file {name} is named and not sent" for name in named - set(files)]
    return found + list(_beyond_limits(method, params))


def _unpacked(value: Any, kinds: list[str]) -> Any:
    """Form fields that contain JSON, parsed."""
    if not isinstance(value, str) or set(kinds) <= {"String", "InputFile"}:
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _check(value: Any, kinds: list[str], named: set[str]) -> list[str]:
    """Nothing if any of the types fits, else what is wrong with the one that fits best."""
    tried = [_check_one(value, kind, named) for kind in kinds]
    return min(tried, key=len) if tried else []


def _check_one(value: Any, kind: str, named: set[str]) -> list[str]:
    if kind.startswith("Array of "):
        if not isinstance(value, list):
            return [": not a list"]
        inner = [kind.removeprefix("Array of ")]
        return [f"[{at}]{why}" for at, one in enumerate(value) for why in _check(one, inner, named)]
    match kind:
        case "Integer":
            return [] if isinstance(value, int) and not isinstance(value, bool) else [f": {value!r} is no integer"]
        case "Float":
            return (
                [] if isinstance(value, int | float) and not isinstance(value, bool) else [f": {value!r} is no number"]
            )
        case "Boolean":
            return [] if isinstance(value, bool) else [f": {value!r} is no boolean"]
        case "String" | "InputFile":
            if isinstance(value, str) and value.startswith("attach://"):
                named.add(value.removeprefix("attach://"))
            return [] if isinstance(value, str) else [f": {value!r} is no text"]
    return _check_object(value, kind, named)


def _check_object(value: Any, kind: str, named: set[str]) -> list[str]:
    known = rules()["types"].get(kind)
    if known is None:
        return [f": the type {kind} is not in rules.json"]
    if isinstance(known, list):
        return _check(value, known, named)
    if not isinstance(value, dict):
        return [f": not a {kind}"]
    found = [f".{name} is unknown in {kind}" for name in value if name not in known]
    for name, (kinds, is_required) in known.items():
        if name in value:
            found += [f".{name}{why}" for why in _check(value[name], kinds, named)]
        elif is_required:
            found.append(f".{name} is missing in {kind}")
    return found


# ---------------------------------------------------------------- limits of prose


def units(text: str) -> int:
    """UTF-16 code units, in which the Bot API counts. Half a pair is no text at all and raises."""
    return len(text.encode("utf-16-le")) // 2


def _beyond_limits(method: str, params: Mapping[str, Any]) -> Iterator[str]:
    for where, text, limit in _texts(method, params):
        if not 1 <= units(text) <= limit and not (where == "caption" and not text):
            yield f"{method}.{where}: {units(text)} units, and 1 to {limit} are allowed"
    if "parse_mode" in params or '"parse_mode"' in str(params.get("media", "")):
        yield f"{method}: parse_mode, so that people's text could break the message"
    for data in _callback_data(params):
        if not 1 <= len(data.encode()) <= MAX_CALLBACK_DATA:
            yield f"{method}: callback_data of {len(data.encode())} bytes"
    if method == "sendMediaGroup" and not 2 <= len(json.loads(params["media"])) <= 10:
        yield "sendMediaGroup: an album has 2 to 10 parts"


def _texts(method: str, params: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    if "text" in params:
        yield "text", params["text"], MAX_ANSWER if method == "answerCallbackQuery" else MAX_TEXT
    if "caption" in params:
        yield "caption", params["caption"], MAX_CAPTION
    media = json.loads(params["media"]) if "media" in params else []
    for one in media if isinstance(media, list) else [media]:
        if "caption" in one:
            yield "caption", one["caption"], MAX_CAPTION


def _callback_data(params: Mapping[str, Any]) -> Iterator[str]:
    markup = json.loads(params.get("reply_markup") or "{}")
    for row in markup.get("inline_keyboard", []):
        for button in row:
            if "callback_data" in button:
                yield button["callback_data"]
