"""Makes the report card of a vision adapter from its answers before and after. Pure but for the memory it reads."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from bot.ports import Score, TestedExample, TrainedExample, TrainingReport, TrainingRequest
from inference.learning.held_out import is_right
from inference.learning.replay import ReplayText
from inference.learning.training_loop import LoopState
from inference.learning.training_session import peak_memory_mb

SHOWN = 10
_SHOWN_LOST = 3
"""Of them, at most so many that the adapter made wrong come before what it still does not know."""


@dataclass(frozen=True)
class AnsweredTexts:
    """The test: `new`, then `old`, with a file name and the answers without and with the adapter for each."""

    new: Sequence[ReplayText]
    old: Sequence[ReplayText]
    files: Sequence[str]
    before: Sequence[str]
    after: Sequence[str]

    def examples(self) -> list[TestedExample]:
        rows = zip([*self.new, *self.old], self.files, self.before, self.after, strict=True)
        return [
            TestedExample(
                file=file,
                question=text.question,
                expected=text.answer,
                before=before,
                after=after,
                is_new=number < len(self.new),
            )
            for number, (text, file, before, after) in enumerate(rows)
        ]


def make_report(
    request: TrainingRequest,
    answered: AnsweredTexts,
    *,
    trained: Sequence[TrainedExample],
    state: LoopState,
    seconds: float,
    revision: str,
) -> TrainingReport:
    """Its examples are never people's corrections, which can be withdrawn while a report card stays."""
    examples = answered.examples()
    new = [example for example in examples if example.is_new]
    old = [example for example in examples if not example.is_new]
    return TrainingReport(
        kind="vision",
        new_before=_score((one.expected, one.before) for one in new),
        new_after=_score((one.expected, one.after) for one in new),
        old_before=_score((one.expected, one.before) for one in old),
        old_after=_score((one.expected, one.after) for one in old),
        examples=tuple(choose_examples([one for one in examples if one.file not in request.corrections])),
        trained=tuple(trained),
        revision=revision,
        steps=state.step,
        seconds=seconds,
        peak_mb=peak_memory_mb(),
        losses=tuple(state.losses),
    )


def _score(pairs: Iterable[tuple[str, str]]) -> Score:
    marks = [is_right(expected, answer) for expected, answer in pairs]
    return Score(sum(marks), len(marks))


def choose_examples(examples: Sequence[TestedExample]) -> list[TestedExample]:
    """Ten: what it learned and what it lost, then what it still does not know, then the rest; different answers
    first."""
    varied = _different_first(examples)
    learned = [one for one in varied if one.is_new and _is_right_after(one) and not _was_right(one)]
    lost = [one for one in varied if not _is_right_after(one) and _was_right(one)]
    missed = [one for one in varied if one.is_new and not _is_right_after(one) and not _was_right(one)]
    kept = [one for one in varied if not one.is_new and _is_right_after(one)]
    first = [*learned[: SHOWN - 2 * _SHOWN_LOST], *lost[:_SHOWN_LOST], *missed[:_SHOWN_LOST]]
    return list(dict.fromkeys([*first, *kept, *learned, *lost, *missed, *varied]))[:SHOWN]


def _different_first(examples: Sequence[TestedExample]) -> list[TestedExample]:
    """The first of each answer, then the second of each, and so on."""
    numbers: Counter[str] = Counter()
    order = []
    for example in examples:
        numbers[example.expected] += 1
        order.append(numbers[example.expected])
    return [example for _, example in sorted(zip(order, examples, strict=True), key=itemgetter(0))]


def _was_right(example: TestedExample) -> bool:
    return is_right(example.expected, example.before)


def _is_right_after(example: TestedExample) -> bool:
    return is_right(example.expected, example.after)
