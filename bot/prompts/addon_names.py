"""The names of LoRAs and textual inversions: as people write them in prompts, and as they are stored. Pure.

Every program calls them by their file's name. Ours are stored under names of letters, digits and `-`, so names are
compared without their case, and `_`, spaces and dots count as `-`.
"""

import re
import unicodedata
from collections.abc import Sequence

MAX_NAME = 80
"""Characters of a stored name."""


def fold_name(name: str) -> str:
    """The stored form: `Add_Detail v1.5` is `add-detail-v1-5`. Empty if it has no letter or digit."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\W_]+", "-", text)[:MAX_NAME].strip("-")


def find_spellings(text: str, names: Sequence[str]) -> list[str]:
    """The words of `text` that spell one of the names, casefolded; `-` and `_` in names are the same."""
    choices = "|".join(map(_pattern, sorted(filter(None, names), key=len, reverse=True)))
    if not choices:
        return []
    found = re.findall(rf"(?<![\w-])(?:{choices})(?![\w-])", text, re.IGNORECASE)
    return list(dict.fromkeys(word.casefold() for word in found))


def _pattern(name: str) -> str:
    return re.sub(r"(?:\\-|_)+", "[-_]+", re.escape(name))
