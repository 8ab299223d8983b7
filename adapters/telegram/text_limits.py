"""Telegram's length limits, which count UTF-16 units: an emoji is two, and is never split."""

MAX_TEXT = 4096
MAX_CAPTION = 1024
MAX_CALLBACK_TEXT = 200
"""The text that pops up after a button press."""
MAX_DESCRIPTION = 256
"""The description of a command in the menu."""
_ELLIPSIS = "\u2026"


def utf16_length(text: str) -> int:
    return len(text) + sum(char > "\uffff" for char in text)


def truncate(text: str, limit: int) -> str:
    """At most `limit` units, with an ellipsis if truncated. Unpaired surrogates become question marks."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\ufffd", "?")
    if utf16_length(text) <= limit:
        return text
    left, end = limit - 1, 0
    for char in text:
        left -= 2 if char > "\uffff" else 1
        if left < 0:
            break
        end += 1
    return text[:end].rstrip("\u200d").rstrip() + _ELLIPSIS
