"""Prompt editing and alternation: the text that a prompt has at each step of an image. Pure.

| written | read |
|---|---|
| `[cat:dog:0.5]`, `[cat:dog:8]` | cat in the first half of the steps, or in the first 8; then dog |
| `[dog:0.5]`, `[:dog:0.5]` | nothing, then dog |
| `[cat::0.5]` | cat, then nothing |
| `[cat\\|dog\\|fox]` | cat in the first step, dog in the second, fox in the third, cat in the fourth |

Numbers below 1 are shares of the steps, others count steps. They nest. Other brackets with `:` or `|` are text, as is
an edit with an unbalanced bracket in it. Source: SD.Next, `modules/prompt_parser.py`, whose readings these are.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

MAX_CHOICES = 128
"""In all the brackets of a prompt; with more, all of them are text."""
_SPECIAL = re.compile(r"\\.|[\[\]():|]", re.DOTALL)
_NUMBER = re.compile(r"\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?)\s*")
_OPENING = {")": "(", "]": "["}
_Span = tuple[int, int]
"""Characters from, up to."""


@dataclass(frozen=True)
class _Edit:
    """Brackets at `start` to `end`. `switch_at`: of the two choices; None: they alternate."""

    start: int
    end: int
    choices: tuple[_Span, ...]
    switch_at: float | None

    def choose(self, step: int, steps: int) -> _Span:
        """The choice in this step, counted from 1."""
        if self.switch_at is None:
            return self.choices[(step - 1) % len(self.choices)]
        last_before = self.switch_at * steps if self.switch_at < 1 else self.switch_at
        return self.choices[step > int(min(steps, last_before))]


@dataclass
class _OpenBracket:
    """`is_balanced`: what follows it could be in an edit."""

    kind: str
    start: int
    separators: list[int] = field(default_factory=list)
    is_balanced: bool = True


@dataclass(frozen=True)
class EditablePrompt:
    """A prompt with its edits, in order of their starts.

    Attributes:
        misread: brackets that look like edits and are text, without those inside others.
        choice_count: in all its brackets, text or not.
    """

    text: str
    edits: Sequence[_Edit]
    misread: Sequence[str]
    choice_count: int

    @property
    def is_too_long(self) -> bool:
        return self.choice_count > MAX_CHOICES

    def texts_by_step(self, steps: int) -> list[str]:
        """The text of each step; at least one."""
        if not self.edits:
            return [self.text] * max(1, steps)
        starts = [edit.start for edit in self.edits]
        return [self._text_at(step, steps, starts) for step in range(1, max(1, steps) + 1)]

    def text_of_all_choices(self) -> str:
        """The text with all choices side by side."""
        if not self.edits:
            return self.text
        cuts = sorted(cut for edit in self.edits for cut in _syntax_of(edit))
        kept, position = [], 0
        for start, end, replacement in cuts:
            kept += [self.text[position:start], replacement]
            position = end
        return re.sub(r" {2,}", " ", "".join([*kept, self.text[position:]])).strip()

    def edits_as_written(self) -> list[str]:
        """Without those inside others."""
        return [self.text[start:end] for start, end in _outermost([(edit.start, edit.end) for edit in self.edits])]

    def _text_at(self, step: int, steps: int, starts: Sequence[int]) -> str:
        kept: list[str] = []
        position = 0
        entered: list[_Span] = []
        """Of each edit that this position is in: the end of its choice, and its own."""
        while True:
            end = entered[-1][0] if entered else len(self.text)
            number = bisect_left(starts, position)
            if number < len(starts) and starts[number] < end:
                edit = self.edits[number]
                kept.append(self.text[position : edit.start])
                position, choice_end = edit.choose(step, steps)
                entered.append((choice_end, edit.end))
                continue
            kept.append(self.text[position:end])
            if not entered:
                return "".join(kept)
            position = entered.pop()[1]


class _BracketStack:
    """The brackets that are open."""

    def __init__(self) -> None:
        self._opened: list[_OpenBracket] = []
        self._counts = Counter[str]()

    def open(self, kind: str, start: int) -> None:
        self._opened.append(_OpenBracket(kind, start))
        self._counts[kind] += 1

    def add_separator(self, position: int) -> None:
        if self._opened:
            self._opened[-1].separators.append(position)

    def close(self, kind: str) -> _OpenBracket | None:
        """The last one of this kind, if any. Those of the other kind in it are unbalanced."""
        if not self._counts[kind]:
            self.mark_unbalanced()
            return None
        is_balanced = self._opened[-1].kind == kind
        while self._pop().kind != kind:
            pass
        self._closed.is_balanced &= is_balanced
        return self._closed

    def mark_unbalanced(self) -> None:
        """What the innermost open one has in it keeps it from being an edit."""
        if self._opened:
            self._opened[-1].is_balanced = False

    def _pop(self) -> _OpenBracket:
        self._closed = self._opened.pop()
        self._counts[self._closed.kind] -= 1
        return self._closed


def parse_edits(text: str) -> EditablePrompt:
    """The edits of a prompt without tags."""
    edits: list[_Edit] = []
    misread: list[_Span] = []
    opened = _BracketStack()
    for match in _SPECIAL.finditer(text):
        special = match[0]
        if special in ("(", "["):
            opened.open(special, match.start())
        elif special in (":", "|"):
            opened.add_separator(match.start())
        elif special in _OPENING and (bracket := opened.close(_OPENING[special])) is not None:
            edit = _read_edit(text, bracket, match.end())
            if edit is not None:
                edits.append(edit)
            elif not _may_be_inside(text, bracket):
                opened.mark_unbalanced()
                misread += [(bracket.start, match.end())] if bracket.kind == "[" and bracket.separators else []
    choice_count = sum(len(edit.choices) for edit in edits)
    kept = sorted(edits, key=lambda edit: edit.start) if choice_count <= MAX_CHOICES else []
    shown = [text[start:end] for start, end in _outermost(misread)]
    return EditablePrompt(text, tuple(kept), shown, choice_count)


def _read_edit(text: str, bracket: _OpenBracket, end: int) -> _Edit | None:
    """The edit between these brackets, if it is one."""
    separators = bracket.separators
    if bracket.kind != "[" or not bracket.is_balanced or not separators:
        return None
    bounds = [bracket.start, *separators, end - 1]
    spans = [(start + 1, stop) for start, stop in pairwise(bounds)]
    kinds = {text[position] for position in separators}
    if kinds == {"|"}:
        return _Edit(bracket.start, end, tuple(spans), None)
    number = _NUMBER.fullmatch(text, *spans[-1])
    if kinds != {":"} or len(separators) > 2 or number is None:
        return None
    nothing = (bracket.start + 1, bracket.start + 1)
    return _Edit(bracket.start, end, (nothing, *spans[:-1])[-2:], float(number[1]))


def _may_be_inside(text: str, bracket: _OpenBracket) -> bool:
    """Whether an edit may have these brackets, which are none themselves: emphasis, with or without a weight."""
    separators = bracket.separators
    has_weight = bracket.kind == "(" and len(separators) == 1 and text[separators[0]] == ":"
    return bracket.is_balanced and (not separators or has_weight)


def _syntax_of(edit: _Edit) -> Iterator[tuple[int, int, str]]:
    """The parts of an edit that are not its choices, with what replaces them: start, end, text."""
    position = edit.start
    for number, (start, end) in enumerate(edit.choices):
        if start > position:
            yield position, start, " " if number else ""
        position = end
    yield position, edit.end, ""


def _outermost(spans: Sequence[_Span]) -> list[_Span]:
    found: list[_Span] = []
    for start, end in sorted(spans):
        if not found or start >= found[-1][1]:
            found.append((start, end))
    return found
