"""Telegram's length limits, which count UTF-16 units: an emoji is two, and is never split."""

MAX_TEXT = 4096
MAX_CAPTION = 1024
MIN_PROMPT = 100
"""Units that a prompt keeps, however long the text below it is."""
MAX_CALLBACK_TEXT = 200
"""The text that pops up after a button press."""
MAX_DESCRIPTION = 256
"""The description of a command in the menu."""
MAX_COMMANDS = 100
"""In the menu."""
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


def truncate_caption(text: str) -> str:
    """At most `MAX_CAPTION` units. The longest line, a prompt, is truncated first, so that the facts around it stay."""
    lines = text.split("\n")
    longest = max(range(len(lines)), key=lambda number: len(lines[number]))
    left = MAX_CAPTION - utf16_length(text) + utf16_length(lines[longest])
    if MIN_PROMPT <= left < utf16_length(lines[longest]):
        lines[longest] = truncate(lines[longest], left)
    return truncate("\n".join(lines), MAX_CAPTION)
