"""Best of n: judges a job's pictures by their prompt, drops some while they are made, and puts the best ones first.

Pictures are ordered by their own logits, which do not depend on the others: a picture has the same score among two and
among eight. If the judge fails, the first pictures go on, as many as were paid for, and the result says so.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from bot.commands.best_of import best_of, find_judge
from bot.errors import EaselError, Interrupted, JobCancelled
from bot.jobs import Media
from bot.models import TEXT_TO_IMAGE, ModelRegistry
from bot.ports import Candidates, MatchScore, Pool, Task, TaskOutput
from bot.problem_texts.best_problems import LOW_MATCH, UNJUDGED, UNRANKED
from bot.prompts.grammar import plain_text
from bot.prompts.richer_prompts import own_prompt_at
from bot.queue.plain_tasks import ranking_task
from bot.queue.task_runner import RunPart

log = structlog.get_logger()

JUDGE_TIMEOUT_S = 60.0
"""How long pictures wait to be judged, the loading of the judge included."""
NOTE_TIMEOUT_S = 2.0
"""How long a result waits for the note that it may not show its prompt."""
MAX_QUOTED = 80
"""Characters of a prompt in a note."""


@dataclass(frozen=True, kw_only=True)
class BestOf:
    """`pool`: tells which devices are idle. `_unjudged`: tasks of which pictures were dropped without looking at
    them."""

    models: ModelRegistry
    pool: Pool | None = None
    _unjudged: set[str] = field(default_factory=set)

    async def choose_rows(self, task: Task, candidates: Candidates, run_part: RunPart) -> Sequence[int]:
        """The images with the highest logits; of equal ones the first. If the judge fails, the first of all."""
        indexes = [image.index for image in candidates.images]
        scores = await self._judge(task, {one.index: one.media for one in candidates.images}, run_part)
        if not scores:
            self._unjudged.add(task.id)
            return indexes[: candidates.kept]
        if len(indexes) == best_of(task.options):
            self._unjudged.discard(task.id)  # of an earlier attempt
        return sorted(indexes, key=lambda index: (-scores[index].logit, index))[: candidates.kept]

    async def finish(self, task: Task, output: TaskOutput, run_part: RunPart) -> TaskOutput:
        """The output with its images in the order of their scores; a note says if none matches."""
        was_unjudged = task.id in self._unjudged
        self._unjudged.discard(task.id)
        if not best_of(task.options) or not output.images:
            return await self._note_low_match(task, output, run_part)
        notes = [UNJUDGED] if was_unjudged else []
        scores = await self._judge(task, {one.index: one.media for one in output.images}, run_part)
        if not scores:
            return replace(output, notes=(*output.notes, *notes, UNRANKED))
        images = [replace(one, score=to_probability(scores[one.index].logit)) for one in output.images]
        images.sort(key=lambda one: (-scores[one.index].logit, one.index))
        notes += self._explain_low_match(task, scores, images[0].index)
        return replace(output, images=tuple(images), notes=(*output.notes, *notes))

    async def _note_low_match(self, task: Task, output: TaskOutput, run_part: RunPart) -> TaskOutput:
        """Also said of pictures that were not compared, where it costs nobody a step: if the judge is loaded on an idle
        device."""
        if not output.images or not self._can_note(task):
            return output
        try:
            async with asyncio.timeout(NOTE_TIMEOUT_S):
                scores = await self._judge(task, {one.index: one.media for one in output.images}, run_part)
        except (Interrupted, TimeoutError):  # it must not cost the result
            return output
        best = max(scores, key=lambda index: scores[index].logit, default=None)
        return replace(output, notes=(*output.notes, *self._explain_low_match(task, scores, best)))

    def _can_note(self, task: Task) -> bool:
        is_drawn = bool(task.options.get("prompt")) and task.task == TEXT_TO_IMAGE
        judge = find_judge(self.models, task.model) if is_drawn and not task.is_exclusive else None
        if judge is None or self.pool is None:
            return False
        return any(judge.name in one.loaded and not one.running for one in self.pool.device_statuses())

    def _explain_low_match(self, task: Task, scores: Mapping[int, MatchScore], best: int | None) -> list[str]:
        """A note, if the best of the pictures may not show its prompt."""
        judge = find_judge(self.models, task.model)
        if judge is None or best is None or to_probability(scores[best].logit) >= judge.low_match:
            return []
        return [LOW_MATCH.format(words=_quote(own_prompt_at(task.options, best)))]

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
                    shown = [pictures[index] for index in indexes]
                    part = ranking_task(
                        judge, text, shown, id=f"{task.id}.rank{number}", fairness_key=task.fairness_key
                    )
                    matches = (await run_part(part)).matches
                    scores |= dict(zip(indexes, matches, strict=True))
        except (Interrupted, JobCancelled):
            raise
        except (EaselError, TimeoutError, ValueError) as error:
            log.warning("pictures could not be judged", action="judge_failed", error=str(error))
            return {}
        return scores if all(math.isfinite(one.logit) for one in scores.values()) else {}


def to_probability(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))


def _quote(prompt: str) -> str:
    words = plain_text(prompt)
    return words if len(words) <= MAX_QUOTED else f"{words[:MAX_QUOTED].rstrip()}\u2026"
