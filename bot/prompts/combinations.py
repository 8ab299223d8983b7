"""`{a|b}` in a prompt: every combination, in the order in which a reader would write them out."""

import itertools
import re

from bot.errors import InvalidOption

MAX_COMBINATIONS = 64
_CHOICE = re.compile(r"\{([^{}]*\|[^{}]*)\}")


def combinations(prompt: str) -> list[str]:
    """All prompts that `prompt` stands for; itself alone when it has no `{a|b}`.

    Raises: InvalidOption when there are more than 64.
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
    return [re.sub(r" {2,}", " ", "".join(words)).strip() for words in itertools.product(*pieces)]
