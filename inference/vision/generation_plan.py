"""What a task wants to have written about its pictures, round by round. Pure.

A tale is a generator: it yields the texts it wishes for, all of which may be written at the same time, is sent what
came out, and returns the lines of its answer.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.models import VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.options import MAX_SEED
from bot.ports import Task

DRAWS = 2
"""Tries for each caption of `describe`."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One text, or the `texts` likeliest ones of a search.

    Attributes:
        picture: which of the task's.
        seed: draws its words, where words are drawn.
    """

    options: Mapping[str, Any]
    picture: int = 0
    seed: int = 0
    texts: int = 1

    @property
    def beams(self) -> int:
        return int(self.options.get("num_beams", 1))


Tale = Generator[Sequence[Wish], Sequence[Sequence[str]], list[str]]
"""Sent: for each wish in its order, what was written."""


def tale_of(task: Task) -> Tale:
    return _description(task) if task.answers == "lines" else _answers(task)


def texts_of(task: Task) -> int:
    """How many texts its answer has, as far as is known before."""
    return int(task.options.get("count", 1)) if task.answers == "lines" else len(task.images)


def _seed(task: Task, number: int) -> int:
    """Text `number` is drawn as it would be alone with the seed that many further on."""
    return (int(task.options.get("seed", 0)) + number) % (MAX_SEED + 1)


def _answers(task: Task) -> Tale:
    """One for each picture, numbered when there are several."""
    numbers = range(len(task.images))
    written = yield [Wish(options=task.options, picture=number, seed=_seed(task, number)) for number in numbers]
    lines = [text for texts in written for text in texts]
    return lines if len(lines) == 1 else [f"{number}. {line}" for number, line in enumerate(lines, 1)]


def _description(task: Task) -> Tale:
    """Different captions: the likeliest, then drawn ones; of a model that is too sure of itself to draw any other,
    the next likeliest. Fewer where it has no more to say."""
    count = int(task.options.get("count", 1))
    lines = _Different()
    tried = 0
    while tried < count * DRAWS and len(lines.found) < count:
        fewest = min(count - len(lines.found), count * DRAWS - tried)
        written = yield [_attempt(task, attempt) for attempt in range(tried, tried + fewest)]
        lines.add(written)
        tried += fewest
    if len(lines.found) < count:
        beams = 2 * count
        options = {**task.options, "temperature": 0.0, "top_p": 1.0, "num_beams": beams}
        lines.add((yield [Wish(options=options, texts=beams)]))
    return list(lines.found.values())[:count]


def _attempt(task: Task, attempt: int) -> Wish:
    """The first is as asked for."""
    return Wish(options=livelier(task.options, attempt) if attempt else task.options, seed=_seed(task, attempt))


@dataclass
class _Different:
    found: dict[str, str] = field(default_factory=dict)

    def add(self, written: Sequence[Sequence[str]]) -> None:
        for line in (line for lines in written for line in lines if line):
            self.found.setdefault(line.casefold().rstrip(" .!"), line)


def livelier(options: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    """Options that draw words at random, for captions other than the likeliest: more so each time, because a model
    that is sure of itself says the same again and again."""
    warmth = float(options.get("temperature", 0.0)) or 0.8
    temperature = min(2.0, warmth + 0.1 * attempt)
    return {**options, "num_beams": 1, "temperature": temperature, "top_p": min(1.0, 0.9 + 0.01 * attempt)}


def prompt_of(task: Task, model: ModelSpec) -> str | None:
    """What the language model reads; None for a plain caption."""
    if task.task == VISUAL_QUESTION_ANSWERING:
        return model.question_template.replace("{question}", str(task.options["question"]).strip())
    return str(task.options.get("prompt") or "").strip() or None


def tidy(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
