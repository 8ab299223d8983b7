"""Combinations: `{a|b}` in a prompt makes one prompt per choice, in reading order.

`[a|b]` within a choice is part of it: alternatives in the steps of one image (`editing.py`). `\\|` separates nothing.
"""

import itertools
import re

from bot.errors import InvalidOption

MAX_COMBINATIONS = 64
CHOICES = re.compile(r"\{([^{}|]*\|[^{}]*)\}")
_SPECIAL = re.compile(r"\\.|[\[\]|]", re.DOTALL)


def expand_combinations(prompt: str) -> list[str]:
    """All combinations of the prompt's choices; only the prompt itself if it has no `{a|b}`.

    Raises: InvalidOption: there are more than 64.
    """
    pieces: list[list[str]] = []
    end = total = 0
    for match in CHOICES.finditer(prompt):
        pieces += [[prompt[end : match.start()]], split_choices(match)]
        total = max(1, total) * len(pieces[-1])
        end = match.end()
        if total > MAX_COMBINATIONS:
            raise InvalidOption("prompt", "combinations", allowed=str(MAX_COMBINATIONS))
    pieces.append([prompt[end:]])
    return [re.sub(r" {2,}", " ", "".join(parts)).strip() for parts in itertools.product(*pieces)]


def split_choices(match: re.Match[str]) -> list[str]:
    """The choices of a match of `CHOICES`; the braces as they are written if each `|` in them is in brackets."""
    text = match[1]
    ends = _find_separators(text)
    if not ends:
        return [match[0]]
    return [text[start:end].strip() for start, end in zip([0, *(one + 1 for one in ends)], [*ends, None], strict=True)]


def _find_separators(text: str) -> list[int]:
    """The position of each `|` that is in no pair of square brackets."""
    found: list[int] = []
    counts_at_opening: list[int] = []
    for special in _SPECIAL.finditer(text):
        if special[0] == "[":
            counts_at_opening.append(len(found))
        elif special[0] == "]" and counts_at_opening:
            del found[counts_at_opening.pop() :]
        elif special[0] == "|":
            found.append(special.start())
    return found
