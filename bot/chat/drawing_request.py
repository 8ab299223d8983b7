"""Finds what a sentence asks to draw: "draw me a cat" has the prompt "a cat". English, as the catalogues are."""

import re

from bot.options import MAX_PROMPT, clean_text

_OPENING = re.compile(
    r"(?:(?:hey|hi|hello|ok|okay|please|pls|now|so|then|and|easel|bot)\b[\s,.!:]*)*"
    r"(?:(?:can|could|would|will)\s+you\s+(?:please\s+)?|(?:i(?:'d|\s+would)\s+like|i\s+want|i\s+need)\s+you\s+to\s+"
    r"|let(?:'s|\s+us)\s+)?"
    r"(?:please\s+)?",
    re.IGNORECASE,
)
_FOR_WHOM = r"(?:\s+(?:me|us))?"
_KINDS = (
    r"(?:picture|image|photo|painting|drawing|illustration|portrait|sketch|artwork|wallpaper|logo)s?"
    r"\s+(?:of|with|showing|about|where)\s+"
)
_PICTURE = rf"(?:(?:a|an|another|the|some)\s+(?:\w+\s+){{0,2}}?|(?!(?:my|your|our|no)\b)\w+\s+)?{_KINDS}"
_DRAWN = re.compile(
    rf"(?:(?:draw|paint|sketch|illustrate|doodle|imagine)(?!\s+of\b){_FOR_WHOM}[\s:,]+|generate\s+(?=an?\s))"
    rf"(?:{_PICTURE})?(?P<what>.+)",
    re.IGNORECASE,
)
_MADE = re.compile(
    r"(?:(?:make|create|generate|render|design|show|give|send|i\s+want|i\s+need|i(?:'d|\s+would)\s+(?:like|love)"
    rf"|(?:can|could|may)\s+(?:i|we)\s+(?:have|get|see)){_FOR_WHOM}\s+{_PICTURE}"
    rf"|(?:an?\s+(?:\w+\s+)?)?{_KINDS})(?P<what>.+)",
    re.IGNORECASE,
)
_CLOSINGS = (" please", " pls", " for me", " for us", " thanks", " thank you")
_MARKS = " .,!?:\u2026\"'\u201c\u201d"
_NO_SUBJECT = re.compile(
    r"(?:it|this|that|these|those|them|him|her|me|us|you|what|how|why|if|being|again|nothing|job|my\s+last"
    r"|from|on|upon|out|up|down|back|near|over|to|in|into|off|away|together|for"
    r"|the\s+(?:same|line|point|curtains?)|attention|breath|comparisons?|distinctions?|inferences?|inspiration|lots(?!\s+of))\b"
    r"|(?:an?\s+|any\s+|some\s+|the\s+|(?:my|our|your)\s+(?:own\s+)?)?(?:blank|comparison|conclusions?|distinction|parallels?)\b"
    r"|(?:something|anything|everything|everyone|myself|more|one|another|better|well|faster|please)"
    r"(?:\s+(?:more|one|again|else|please))*\W*$",
    re.IGNORECASE,
)
"""What is no subject of a picture: something said before, drawing itself, "draw conclusions"."""


def drawing_prompt(text: str) -> str:
    """The prompt of a text that asks for a picture; empty: it asks for none."""
    if len(text) > MAX_PROMPT:
        return ""
    asked = clean_text(text).replace("\u2019", "'").lstrip(_MARKS)
    opening = _OPENING.match(asked)
    rest = asked[opening.end() :] if opening is not None else asked
    match = _DRAWN.match(rest) or _MADE.match(rest)
    if match is None or _NO_SUBJECT.match(match.group("what")):
        return ""
    return _without_closing(match.group("what"))


def _without_closing(text: str) -> str:
    text = text.strip(_MARKS)
    while closing := next((one for one in _CLOSINGS if text[-len(one) :].lower() == one), ""):
        text = text[: -len(closing)].rstrip(_MARKS)
    return text
