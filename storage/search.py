"""Splits text into words for the full-text index, in any script.

Chinese, Japanese, Thai and emoji have no spaces between words: each character is indexed as a word, and a run of them
is searched as a phrase.
"""

import unicodedata

from bot.options import MAX_PROMPT, limit_marks

_UNSPACED_SCRIPTS = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0xA4CF),  # CJK, kana, Yi
    (0xF900, 0xFAFF),  # CJK compatibility
    (0xFF66, 0xFF9F),  # half-width kana
)
MAX_INDEXED = 2 * MAX_PROMPT
"""Characters of a text that can be found; compatibility characters expand to up to 18."""
MAX_QUERY = 200
"""Characters of a query that count."""
MAX_PHRASES = 12
"""Of a query: each is looked up for itself, and a single letter begins many words."""
_HIGHEST_KNOWN = 0xFFFF
"""SQLite's character tables are old: characters above are indexed by their code point."""


def separate_words(text: str) -> str:
    """The text with spaces around each character that is a word by itself; of a very long one, the beginning."""
    text = unicodedata.normalize("NFKC", limit_marks(text[:MAX_INDEXED]))[:MAX_INDEXED]
    return "".join(map(_separate, text))


def search_phrases(q: str) -> list[str]:
    """The phrases of a query, each once, without those that have no searchable characters; at most `MAX_PHRASES`."""
    phrases = (" ".join(separate_words(word).split()) for word in q[:MAX_QUERY].split())
    searchable = (phrase for phrase in phrases if any(character.isalnum() for character in phrase))
    return list(dict.fromkeys(searchable))[:MAX_PHRASES]


def _separate(character: str) -> str:
    code = ord(character)
    category = unicodedata.category(character)
    if category in ("Cc", "Cs"):  # NUL ends a query; unpaired surrogates cannot be stored
        return " "
    if code > _HIGHEST_KNOWN or category == "So":
        return f" u{code:x} " if category[0] in "LNS" else " "
    if any(first <= code <= last for first, last in _UNSPACED_SCRIPTS):
        return f" {character} "
    return character
