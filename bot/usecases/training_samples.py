"""How well the samples of an image adapter match their prompts, by the model that judges pictures."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from bot.commands.best_of import find_judge
from bot.errors import EaselError
from bot.jobs import Media
from bot.models import ModelRegistry, ModelSpec
from bot.ports import MatchScore, Pool, TrainingReport
from bot.queue.parts.ranked_pictures import to_probability
from bot.queue.plain_tasks import ranking_task, run_to_output

log = structlog.get_logger()
TIMEOUT_S = 300.0
ScoreSamples = Callable[[ModelSpec, TrainingReport, Callable[[str], bytes]], Awaitable[TrainingReport]]
"""`TrainingSamples.score`."""


@dataclass(frozen=True, kw_only=True)
class TrainingSamples:
    models: ModelRegistry
    pool: Pool

    async def score(self, maker: ModelSpec, report: TrainingReport, read: Callable[[str], bytes]) -> TrainingReport:
        """The report with the mean scores of its examples' pictures; as it is where no model can judge them.

        `read`: a sample by its name in the adapter's folder; blocking.
        """
        judge = find_judge(self.models, maker)
        if report.kind != "image" or judge is None or not report.examples:
            return report
        pairs = []
        try:
            async with asyncio.timeout(TIMEOUT_S):
                for number, example in enumerate(report.examples):
                    images = [await asyncio.to_thread(read, name) for name in (example.before, example.after)]
                    pairs.append(await self._rank(judge, example.expected, images, number))
        except (EaselError, TimeoutError, OSError) as error:
            log.warning("samples could not be judged", action="judge_failed", error=str(error))
            return report
        before, after = (sum(to_probability(pair[index].logit) for pair in pairs) / len(pairs) for index in (0, 1))
        return replace(report, match_before=before, match_after=after)

    async def _rank(self, judge: ModelSpec, text: str, images: Sequence[bytes], number: int) -> tuple[MatchScore, ...]:
        media = [Media(image, "image/png") for image in images]
        task = replace(ranking_task(judge, text, media, id=f"training-samples-{number}"), is_part=True)
        return (await run_to_output(self.pool, task)).matches
