"""Keeps what a model thinks out of its answers, also when it thinks although it was told not to, or never ends."""

import re
from collections.abc import Sequence
from typing import Any

from bot.options import clean_text

MARKERS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel>", "<channel|>"),
)
"""What families write around their thoughts; the last is Gemma's."""
_ENDS = "|".join(re.escape(end) for _, end in MARKERS)
_THOUGHT = re.compile("|".join(rf"{re.escape(start)}.*?(?:{re.escape(end)}|\Z)" for start, end in MARKERS), re.DOTALL)
_UNOPENED = re.compile(rf"\A.*(?:{_ENDS})", re.DOTALL)
_FRAMES = ("<answer>", "</answer>", "<|begin_of_box|>", "<|end_of_box|>")
"""What GLM writes around its answers; its tokenizer does not call them special."""


class AnswerDecoder:
    """Token ids to the text that a person may see."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self._starts = {vocabulary[start] for start, _ in MARKERS if start in vocabulary}
        self._ends = {vocabulary[end] for _, end in MARKERS if end in vocabulary}
        self._frames = {vocabulary[frame] for frame in _FRAMES if frame in vocabulary}

    def begins_in_thought(self, prompt_ids: Sequence[int]) -> bool:
        """Whether the prompt ends within a thought, which some templates open for the model."""
        for token in reversed(prompt_ids):
            if token in self._starts:
                return True
            if token in self._ends:
                return False
        return False

    def decode(self, token_ids: Sequence[int], *, begins_in_thought: bool = False) -> str:
        """The answer, or its beginning, without thoughts, markers, blank lines around it, and what cannot be seen."""
        kept: list[int] = []
        is_thought = begins_in_thought
        for token in token_ids:
            if token in self._starts:
                is_thought = True
            elif token in self._ends:
                kept, is_thought = (kept if is_thought else []), False
            elif not is_thought and token not in self._frames:
                kept.append(token)
        return clean_lines(strip_thoughts(self._tokenizer.decode(kept, skip_special_tokens=True)))


def clean_lines(text: str) -> str:
    """Each line without control, bidi and zero-width characters; new lines and indentations stay."""
    lines = [(line, len(line) - len(line.lstrip(" "))) for line in text.splitlines()]
    return "\n".join(f"{' ' * spaces}{clean_text(line)}".rstrip() for line, spaces in lines).strip()


def strip_thoughts(text: str) -> str:
    """A text without thoughts whose markers are several tokens, and without the beginning of a marker at its end."""
    text = _UNOPENED.sub("", _THOUGHT.sub("", text))
    for start, _ in MARKERS:
        cut = next((size for size in range(len(start) - 1, 1, -1) if text.endswith(start[:size])), 0)
        text = text[: len(text) - cut]
    return text.strip()
