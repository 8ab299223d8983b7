"""Which texts to generate for a task, round by round. Pure.

A plan is a generator: it yields the specs of a round, all of which may be generated at the same time, is sent the
resulting texts, and returns the lines of the task's answer.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.models import VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.options import MAX_SEED
from bot.ports import Task

ATTEMPTS_PER_CAPTION = 2
"""Samples for each requested caption of `describe`."""


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """One text, or the `return_count` most likely ones of a beam search.

    Attributes:
        image_index: which of the task's images.
        seed: of the sampling, if any.
    """

    options: Mapping[str, Any]
    image_index: int = 0
    seed: int = 0
    return_count: int = 1

    @property
    def num_beams(self) -> int:
        return int(self.options.get("num_beams", 1))


GenerationPlan = Generator[Sequence[TextSpec], Sequence[Sequence[str]], list[str]]
"""Is sent the texts of each spec, in their order."""


def plan_for(task: Task) -> GenerationPlan:
    return _plan_description(task) if task.answers == "lines" else _plan_answers(task)


def expected_text_count(task: Task) -> int:
    """How many texts the answer will have, as far as is known in advance."""
    if task.answers == "lines":
        return int(task.options.get("count", 1))
    beams, count = (int(task.options.get(name) or 1) for name in ("num_beams", "num_return_sequences"))
    return len(task.images) * (1 if beams > 1 else count)


def _seed_for(task: Task, number: int) -> int:
    """Text `number` is sampled like a single text with seed + number."""
    return (int(task.options.get("seed", 0)) + number) % (MAX_SEED + 1)


def _plan_answers(task: Task) -> GenerationPlan:
    """A line for each image, or `num_return_sequences` of them, numbered if there are several."""
    count = int(task.options.get("num_return_sequences") or 1)
    beams = int(task.options.get("num_beams") or 1)
    generated = yield [
        TextSpec(
            options=task.options,
            image_index=index,
            seed=_seed_for(task, index * count + number),
            return_count=min(count, beams) if beams > 1 else 1,
        )
        for index in range(len(task.images))
        for number in range(1 if beams > 1 else count)
    ]
    return number_lines([text for texts in generated for text in texts])


def number_lines(lines: Sequence[str]) -> list[str]:
    return list(lines) if len(lines) == 1 else [f"{number}. {line}" for number, line in enumerate(lines, 1)]


def _plan_description(task: Task) -> GenerationPlan:
    """Distinct captions: the most likely one, then sampled ones; if sampling finds too few, the best of a beam search.
    May return fewer than requested."""
    count = int(task.options.get("count", 1))
    captions = _DistinctLines()
    attempts = 0
    while attempts < count * ATTEMPTS_PER_CAPTION and len(captions.lines) < count:
        missing = min(count - len(captions.lines), count * ATTEMPTS_PER_CAPTION - attempts)
        captions.add_texts((yield [_attempt_spec(task, attempt) for attempt in range(attempts, attempts + missing)]))
        attempts += missing
    if len(captions.lines) < count:
        beams = 2 * count
        options = {**task.options, "temperature": 0.0, "top_p": 1.0, "num_beams": beams}
        captions.add_texts((yield [TextSpec(options=options, return_count=beams)]))
    return list(captions.lines.values())[:count]


def _attempt_spec(task: Task, attempt: int) -> TextSpec:
    """The first attempt uses the requested options."""
    options = diversify(task.options, attempt) if attempt else task.options
    return TextSpec(options=options, seed=_seed_for(task, attempt))


@dataclass
class _DistinctLines:
    lines: dict[str, str] = field(default_factory=dict)

    def add_texts(self, generated: Sequence[Sequence[str]]) -> None:
        for line in (text for texts in generated for text in texts if text):
            self.lines.setdefault(line.casefold().rstrip(" .!"), line)


def diversify(options: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    """Sampling options for captions other than the most likely one: hotter with each attempt, because a confident model
    repeats itself."""
    base_temperature = float(options.get("temperature", 0.0)) or 0.8
    temperature = min(2.0, base_temperature + 0.1 * attempt)
    return {**options, "num_beams": 1, "temperature": temperature, "top_p": min(1.0, 0.9 + 0.01 * attempt)}


def prompt_for(task: Task, model: ModelSpec) -> str | None:
    """The text prompt of the language model; None for a plain caption."""
    if task.task == VISUAL_QUESTION_ANSWERING:
        return model.question_template.replace("{question}", str(task.options["question"]).strip())
    return str(task.options.get("prompt") or model.caption_prompt).strip() or None


def text_so_far(task: Task, texts: Sequence[str]) -> str:
    """The answer while its texts, of which some may be "", are generated."""
    if task.answers == "lines":
        captions = _DistinctLines()
        captions.add_texts([texts])
        return "\n".join(list(captions.lines.values())[: int(task.options.get("count", 1))])
    lines = list(texts) + [""] * (expected_text_count(task) - len(texts))
    return "\n".join(number_lines(lines)) if any(lines) else ""


def first_line(text: str) -> str:
    """The first line that is not blank."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
