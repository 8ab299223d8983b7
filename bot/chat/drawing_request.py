"""Finds what a sentence asks to draw: "draw me a cat" has the prompt "a cat". English, as the catalogues are."""

import re

from bot.options import MAX_PROMPT, clean_text

_OPENING = re.compile(
    r"(?:(?:hey|hi|hello|ok|okay|please|pls|now|so|then|and|easel|bot)\b[\s,.!:]*)*"
    r"(?:(?:can|could|would|will)\s+you\s+(?:please\s+)?|(?:i(?:'d|\s+would)\s+like|i\s+want|i\s+need)\s+you\s+to\s+)?"
    r"(?:please\s+)?",
    re.IGNORECASE,
)
_FOR_WHOM = r"(?:\s+(?:me|us))?"
_PICTURE = (
    r"(?:(?:a|an|another|the|some)\s+)?(?:\w+\s+)?"
    r"(?:picture|image|photo|painting|drawing|illustration|portrait|sketch|artwork|wallpaper|logo)s?"
    r"\s+(?:of|with|showing|about|where)\s+"
)
_DRAWN = re.compile(
    rf"(?:draw|paint|sketch|illustrate|doodle|imagine){_FOR_WHOM}\s+(?:{_PICTURE})?(?P<what>.+)", re.IGNORECASE
)
_MADE = re.compile(
    rf"(?:make|create|generate|render|design|show|give|send|i\s+want|i\s+need|i(?:'d|\s+would)\s+like){_FOR_WHOM}"
    rf"\s+{_PICTURE}(?P<what>.+)",
    re.IGNORECASE,
)
_CLOSINGS = (" please", " pls", " for me", " for us", " thanks", " thank you")
_MARKS = " .,!?:\u2026\"'\u201c\u201d"
_NOTHING_NEW = re.compile(
    r"(?:it|this|that|these|those|them|him|her|me|us|you|what|how|why|if|something|anything|again|more|one)\b",
    re.IGNORECASE,
)
"""The beginning of what is about something said before, or about drawing itself."""


def drawing_prompt(text: str) -> str:
    """The prompt of a text that asks for a picture; empty: it asks for none."""
    if len(text) > MAX_PROMPT:
        return ""
    asked = clean_text(text).replace("\u2019", "'")
    opening = _OPENING.match(asked)
    rest = asked[opening.end() :] if opening is not None else asked
    match = _DRAWN.match(rest) or _MADE.match(rest)
    if match is None or _NOTHING_NEW.match(match.group("what")):
        return ""
    return _without_closing(match.group("what"))


def _without_closing(text: str) -> str:
    text = text.strip(_MARKS)
    while closing := next((one for one in _CLOSINGS if text[-len(one) :].lower() == one), ""):
        text = text[: -len(closing)].rstrip(_MARKS)
    return text
