"""Best of n: judges a job's pictures by their prompt, drops some while they are made, and puts the best ones first.

Pictures are ordered by their own logits, which do not depend on the others: a picture has the same score among two and
among eight. If the judge fails, the first pictures go on, as many as were paid for, and the result says so.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from bot.commands.best_of import best_of, find_judge
from bot.errors import EaselError, Interrupted, JobCancelled
from bot.jobs import Media
from bot.models import ModelRegistry, ModelSpec
from bot.ports import RANK, Candidates, MatchScore, RenderedImage, Task, TaskImage, TaskOutput
from bot.problem_texts.best_problems import LOW_MATCH, UNJUDGED, UNRANKED
from bot.prompts.grammar import plain_text
from bot.prompts.richer_prompts import own_prompt_at
from bot.queue.task_runner import RunPart

log = structlog.get_logger()

JUDGE_TIMEOUT_S = 60.0
"""How long pictures wait to be judged, the loading of the judge included."""
MAX_QUOTED = 80
"""Characters of a prompt in a note."""


@dataclass(frozen=True, kw_only=True)
class BestOf:
    """`_unjudged`: tasks of which pictures were dropped without looking at them."""

    models: ModelRegistry
    _unjudged: set[str] = field(default_factory=set)

    async def choose_rows(self, task: Task, candidates: Candidates, run_part: RunPart) -> Sequence[int]:
        """The images with the highest logits; of equal ones the first. If the judge fails, the first of all."""
        indexes = [image.index for image in candidates.images]
        scores = await self._judge(task, {one.index: one.media for one in candidates.images}, run_part)
        if not scores:
            self._unjudged.add(task.id)
            return indexes[: candidates.kept]
        return sorted(indexes, key=lambda index: (-scores[index].logit, index))[: candidates.kept]

    async def finish(self, task: Task, output: TaskOutput, run_part: RunPart) -> TaskOutput:
        """The output with its images in the order of their scores; a note says if none matches."""
        was_unjudged = task.id in self._unjudged
        self._unjudged.discard(task.id)
        if not best_of(task.options) or not output.images:
            return output
        notes = [UNJUDGED] if was_unjudged else []
        scores = await self._judge(task, {one.index: one.media for one in output.images}, run_part)
        if not scores:
            return replace(output, notes=(*output.notes, *notes, UNRANKED))
        images = [replace(one, score=to_probability(scores[one.index].logit)) for one in output.images]
        images.sort(key=lambda one: (-scores[one.index].logit, one.index))
        judge = find_judge(self.models, task.model)
        if judge is not None and _score_of(images[0]) < judge.low_match:
            notes.append(LOW_MATCH.format(words=_quote(own_prompt_at(task.options, images[0].index))))
        return replace(output, images=tuple(images), notes=(*output.notes, *notes))

    async def _judge(self, task: Task, pictures: dict[int, Media], run_part: RunPart) -> dict[int, MatchScore]:
        """The score of each image, by its index; empty: they could not be judged."""
        judge = find_judge(self.models, task.model)
        if judge is None:
            return {}
        texts = {index: plain_text(own_prompt_at(task.options, index)) for index in pictures}
        scores: dict[int, MatchScore] = {}
        try:
            async with asyncio.timeout(JUDGE_TIMEOUT_S):
                for number, text in enumerate(dict.fromkeys(texts.values())):
                    indexes = [index for index, one in texts.items() if one == text]
                    part = ranking_task(task, judge, text, [pictures[index] for index in indexes], number)
                    matches = (await run_part(part)).matches
                    scores |= dict(zip(indexes, matches, strict=True))
        except (Interrupted, JobCancelled):
            raise
        except (EaselError, TimeoutError, ValueError) as error:
            log.warning("pictures could not be judged", action="judge_failed", error=str(error))
            return {}
        return scores if all(math.isfinite(one.logit) for one in scores.values()) else {}


def ranking_task(task: Task, judge: ModelSpec, text: str, pictures: Sequence[Media], number: int = 0) -> Task:
    """How well each picture shows the text. `number`: tells several such parts of one job apart."""
    return Task(
        id=f"{task.id}.rank{number}",
        command=RANK,
        task=judge.tasks[0],
        model=judge,
        options={"text": text},
        images=tuple(TaskImage("init", picture) for picture in pictures),
        fairness_key=task.fairness_key,
    )


def to_probability(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))


def _score_of(image: RenderedImage) -> float:
    return 1.0 if image.score is None else image.score


def _quote(prompt: str) -> str:
    words = plain_text(prompt)
    return words if len(words) <= MAX_QUOTED else f"{words[:MAX_QUOTED].rstrip()}\u2026"
