"""Samples of an image adapter are judged by the matching model, if it knows what the trained model draws."""

from dataclasses import replace

import pytest

from bot import ports
from bot.errors import ModelUnavailable
from bot.models import TEXT_TO_IMAGE, ZERO_SHOT_IMAGE_CLASSIFICATION, ModelRegistry
from bot.ports import RANK, MatchScore, Score, TaskOutput, TrainingReport
from bot.usecases.training_samples import TrainingSamples
from tests.fakes import make_model

REPORT = TrainingReport(
    kind="image",
    new_before=Score(0, 2),
    new_after=Score(2, 2),
    old_before=Score(2, 2),
    old_after=Score(2, 2),
    examples=tuple(
        ports.TestedExample(
            file=f"{n}-with", question="", expected=f"a zorp {n}", before=f"{n}-without", after=f"{n}-with", is_new=True
        )
        for n in (1, 2)
    ),
)


class JudgingPool:
    """Pictures made with the adapter match, the others do not. `error`: what happens instead."""

    def __init__(self, error=None):
        self.tasks, self.error = [], error

    async def run_task(self, task):
        self.tasks.append(task)
        if self.error is not None:
            raise self.error
        yield TaskOutput(
            matches=tuple(
                MatchScore(logit=50.0 if image.media.data.endswith(b"-with") else -50.0, similarity=0.0)
                for image in task.images
            )
        )


def make_samples(pool, *, judge_demo=True):
    judge = make_model(name="judge", tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,), demo=judge_demo)
    return TrainingSamples(models=ModelRegistry({"judge": judge}), pool=pool)


async def score(samples, **maker):
    model = make_model(name="draws", tasks=(TEXT_TO_IMAGE,), **maker)
    return await samples.score(model, REPORT, str.encode)


async def test_the_report_gets_the_mean_scores_of_its_examples():
    pool = JudgingPool()

    report = await score(make_samples(pool), demo=True)

    assert (report.match_before, report.match_after) == (pytest.approx(0.0), pytest.approx(1.0))
    assert [(task.command, task.options["text"]) for task in pool.tasks] == [(RANK, "a zorp 1"), (RANK, "a zorp 2")]


async def test_a_demo_does_not_judge_what_another_model_draws():
    pool = JudgingPool()

    assert await score(make_samples(pool), demo=False) == REPORT
    assert not pool.tasks


async def test_a_judge_that_fails_leaves_the_report_as_it_is():
    pool = JudgingPool(ModelUnavailable("judge", "it is gone"))

    assert await score(make_samples(pool), demo=True) == REPORT


async def test_answers_of_a_vision_adapter_are_no_samples():
    pool = JudgingPool()
    report = replace(REPORT, kind="vision")
    maker = make_model(name="sees", tasks=(TEXT_TO_IMAGE,), demo=True)

    assert await make_samples(pool).score(maker, report, str.encode) == report
    assert not pool.tasks
