"""Telegram's lengths, which count UTF-16 units: an emoji is two of them and is never cut in half."""

MAX_TEXT = 4096
MAX_CAPTION = 1024
MAX_ANSWER = 200
"""What pops up after a button was pressed."""
MAX_SUMMARY = 256
"""A command's line in the menu."""
_MORE = "\u2026"


def units(text: str) -> int:
    return len(text) + sum(char > "\uffff" for char in text)


def cut(text: str, limit: int) -> str:
    """At most `limit` units, ending in an ellipsis where something is missing. Half a pair becomes a question mark."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\ufffd", "?")
    if units(text) <= limit:
        return text
    room, end = limit - 1, 0
    for char in text:
        room -= 2 if char > "\uffff" else 1
        if room < 0:
            break
        end += 1
    return text[:end].rstrip("\u200d").rstrip() + _MORE
