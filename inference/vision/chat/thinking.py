"""Keeps what a model thinks out of its answers, also when it thinks although it was told not to, or never ends."""

import re
from collections.abc import Sequence
from typing import Any

_MARKERS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel>", "<channel|>"),
)
"""What families write around their thoughts; the last is Gemma's."""
_ENDS = "|".join(re.escape(end) for _, end in _MARKERS)
_THOUGHT = re.compile("|".join(rf"{re.escape(start)}.*?(?:{re.escape(end)}|\Z)" for start, end in _MARKERS), re.DOTALL)
_UNOPENED = re.compile(rf"\A.*(?:{_ENDS})", re.DOTALL)


class AnswerDecoder:
    """Token ids to the text that a person may see."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self._starts = {vocabulary[start] for start, _ in _MARKERS if start in vocabulary}
        self._ends = {vocabulary[end] for _, end in _MARKERS if end in vocabulary}

    def begins_in_thought(self, prompt_ids: Sequence[int]) -> bool:
        """Whether the prompt ends within a thought, which some templates open for the model."""
        for token in reversed(prompt_ids):
            if token in self._starts:
                return True
            if token in self._ends:
                return False
        return False

    def decode(self, token_ids: Sequence[int], *, begins_in_thought: bool = False) -> str:
        """The answer, or its beginning, without thoughts, markers and blank lines around it."""
        kept: list[int] = []
        is_thought = begins_in_thought
        for token in token_ids:
            if token in self._starts:
                is_thought = True
            elif token in self._ends:
                kept, is_thought = (kept if is_thought else []), False
            elif not is_thought:
                kept.append(token)
        return strip_thoughts(self._tokenizer.decode(kept, skip_special_tokens=True))


def strip_thoughts(text: str) -> str:
    """A text without thoughts whose markers are several tokens, and without the beginning of a marker at its end."""
    text = _UNOPENED.sub("", _THOUGHT.sub("", text))
    for start, _ in _MARKERS:
        cut = next((size for size in range(len(start) - 1, 1, -1) if text.endswith(start[:size])), 0)
        text = text[: len(text) - cut]
    return text.strip()
