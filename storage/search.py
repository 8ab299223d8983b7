"""Splitting text into words that a full-text index finds again, in any script.

Chinese, Japanese, Thai and emoji come without spaces between words: each character stands alone,
and a run of them is searched as a phrase.
"""

import unicodedata

_UNSPACED = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0xA4CF),  # CJK, kana, Yi
    (0xF900, 0xFAFF),  # CJK compatibility
    (0xFF66, 0xFF9F),  # half-width kana
)
_HIGHEST_KNOWN = 0xFFFF
"""SQLite's character tables are old: what lies above is indexed by its number."""


def spaced(text: str) -> str:
    """The text with every character that is a word by itself set apart."""
    return "".join(_apart(character) for character in unicodedata.normalize("NFKC", text))


def words(q: str) -> list[str]:
    """The phrases that `q` asks for, without those that hold nothing to search by."""
    phrases = (" ".join(spaced(word).split()) for word in q.split())
    return [phrase for phrase in phrases if any(character.isalnum() for character in phrase)]


def _apart(character: str) -> str:
    code = ord(character)
    category = unicodedata.category(character)
    if category in ("Cc", "Cs"):  # NUL ends a query, half a surrogate pair cannot be stored
        return " "
    if code > _HIGHEST_KNOWN or category == "So":
        return f" u{code:x} " if category[0] in "LNS" else " "
    if any(first <= code <= last for first, last in _UNSPACED):
        return f" {character} "
    return character
