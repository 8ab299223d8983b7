"""Combinations: `{a|b}` in a prompt makes one prompt per choice, in reading order."""

import itertools
import re

from bot.errors import InvalidOption

MAX_COMBINATIONS = 64
_CHOICE = re.compile(r"\{([^{}|]*\|[^{}]*)\}")


def expand_combinations(prompt: str) -> list[str]:
    """All combinations of the prompt's choices; only the prompt itself if it has no `{a|b}`.

    Raises: InvalidOption: there are more than 64.
    """
    pieces: list[list[str]] = []
    end = total = 0
    for match in _CHOICE.finditer(prompt):
        pieces += [
            [prompt[end : match.start()]],
            [choice.strip() for choice in match.group(1).split("|")],
        ]
        total = max(1, total) * len(pieces[-1])
        end = match.end()
        if total > MAX_COMBINATIONS:
            raise InvalidOption("prompt", "combinations", allowed=str(MAX_COMBINATIONS))
    pieces.append([prompt[end:]])
    return [re.sub(r" {2,}", " ", "".join(parts)).strip() for parts in itertools.product(*pieces)]
