"""Whether a text is a message of the protocol. The library drops one that is not, or answers with its own internals.

Its id is answered where it can be read: a program waits for the answer to its request.
"""

import json
from dataclasses import dataclass
from typing import Any

from mcp_types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError
from pydantic_core import from_json

_NO_JSON = "The message is not valid JSON in UTF-8."
_HALF_CHARACTER = "A text in the message has half of a surrogate pair: send whole Unicode characters."
_BATCH = "Batches are not supported: send each message separately."
_NO_MESSAGE = 'A message is a JSON object with "jsonrpc": "2.0" and a method, a result or an error.'
_WRONG_ID = "The id of a request is a text or a whole number."
_WRONG_METHOD = "The method of a message is a text."
_WRONG_PARAMS = "The params of a message are an object."


@dataclass(frozen=True)
class CheckedMessage:
    """`refusal`: the answer to a text that is no message. `quick_id`: of a request that is answered immediately."""

    refusal: JSONRPCError | None
    quick_id: str | int | None = None


def check_message(text: bytes) -> CheckedMessage:
    try:
        message = from_json(text)
    except ValueError:
        message, sentence = _read_leniently(text)
        return CheckedMessage(_refusal(PARSE_ERROR, sentence, message))
    if sentence := _find_fault(message):
        return CheckedMessage(_refusal(INVALID_REQUEST, sentence, message))
    is_quick = message.get("method", "tools/call") != "tools/call"
    return CheckedMessage(None, _id_of(message) if is_quick else None)


def refuse_length(limit: int) -> JSONRPCError:
    """`limit`: bytes of a message."""
    return _refusal(INVALID_REQUEST, f"The message is too long: at most {limit // 2**20} MiB.", None)


def _read_leniently(text: bytes) -> tuple[Any, str]:
    """What Python's reader makes of it, which accepts half characters, and what is wrong with it."""
    try:
        return json.loads(text.decode()), _HALF_CHARACTER if b"\\u" in text else _NO_JSON
    except (ValueError, RecursionError):
        return None, _NO_JSON


def _find_fault(message: Any) -> str:
    if isinstance(message, list):
        return _BATCH
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return _NO_MESSAGE
    if not message.keys() & {"method", "result", "error"}:
        return _NO_MESSAGE
    if "id" in message and _id_of(message) is None and "error" not in message:
        return _WRONG_ID
    if not isinstance(message.get("method", ""), str):
        return _WRONG_METHOD
    if not isinstance(message.get("params"), dict | None):
        return _WRONG_PARAMS
    return ""


def _refusal(code: int, sentence: str, message: Any) -> JSONRPCError:
    return JSONRPCError(jsonrpc="2.0", id=_id_of(message), error=ErrorData(code=code, message=sentence))


def _id_of(message: Any) -> str | int | None:
    """None: it has none that can be answered."""
    found = message.get("id") if isinstance(message, dict) else None
    if isinstance(found, bool) or not isinstance(found, str | int):
        return None
    return found if isinstance(found, int) or _is_whole(found) else None


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
