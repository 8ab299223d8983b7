"""Detects questions: by the English words that begin one, and the question marks of all scripts; and mere remarks."""

import re

from bot.options import clean_text

_MARKS = ("?", "\u00bf", "\uff1f", "\u061f", "\u037e", "\u055e", "\u1367")
_OPENERS = re.compile(
    r"(?:what|who|whose|whom|which|where|when|why|how)(?:'?s)?\b"
    r"|(?:is|are|was|were|does|did|do|can|could|would|should|will|has|have|had)(?:n'?t)?\b"
    r"|(?:am|may|might|won't|wont|can't|cant)\b",
    re.IGNORECASE,
)
_NO_QUESTION = re.compile(
    r"(?:do (?:not|the same|it|this|that|more|less)|don'?t|have (?:a|an|the)|will power)\b", re.IGNORECASE
)
_REQUESTS = re.compile(r"(describe|caption|explain|tell me|name|count|list|identify|guess)\b", re.IGNORECASE)
_REMARK = re.compile(
    r"(?:(?:thanks?|thx|ty|you|so|very|much|a lot|wow|whoa|oh|nice|cool|great|good|perfect|awesome|amazing|lovely|cute"
    r"|beautiful|brilliant|lol|haha+|ok|okay|yes|yeah|yay|one|job|work|bot|(?:i )?love (?:it|this))\b[\W_]*)+",
    re.IGNORECASE,
)
_MAX_REMARK = 60
_CLOSERS = " .!\u2026\"')\u201d\u2019"


def is_question(text: str) -> bool:
    """Whether a text reads like a question about a picture rather than an instruction to edit it."""
    text = clean_text(text)
    ending = text.rstrip(_CLOSERS)
    if any(mark in text for mark in _MARKS):
        return True
    opening = ending.replace("\u2019", "'")
    if _NO_QUESTION.match(opening):
        return False
    return bool(_OPENERS.match(opening) or _REQUESTS.match(opening))


def is_remark(text: str) -> bool:
    """Whether a text, such as "thanks!" or an emoji, asks for nothing."""
    text = clean_text(text)
    if not text or is_question(text) or len(text) > _MAX_REMARK:
        return False
    return not any(map(str.isalnum, text)) or bool(_REMARK.fullmatch(text))
