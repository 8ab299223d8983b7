"""Pictures in the order of their scores, and what becomes of them when the judge fails."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from bot.error_texts import format_note
from bot.errors import EngineError, Interrupted, JobCancelled
from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE, ZERO_SHOT_IMAGE_CLASSIFICATION, ModelRegistry, ModelSpec
from bot.ports import RANK, Candidate, Candidates, DeviceStatus, MatchScore, RenderedImage, Task, TaskOutput
from bot.queue.parts import ranked_pictures
from bot.queue.parts.ranked_pictures import BestOf

PAINTER = ModelSpec(name="painter", tasks=(TEXT_TO_IMAGE,), repo="painter")
JUDGE = ModelSpec(name="judge", tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,), repo="judge")
UNRANKED = "The pictures could not be compared with the prompt: they are in the order in which they were made."


class Judge:
    """Gives each picture the logit that its bytes are; `failures`: raised first."""

    def __init__(self, *failures):
        self.tasks, self.failures = [], list(failures)

    async def __call__(self, task):
        self.tasks.append(task)
        if self.failures and (failure := self.failures.pop(0)) is not None:
            raise failure
        return TaskOutput(matches=tuple(MatchScore(float(image.media.data)) for image in task.images))


def make_task(best, **options):
    filled = {"prompt": "a (fox:1.2) <lora:ink:1>", "seed": 7, "count": best, "best": best, "steps": 10, **options}
    return Task(id="job", command="imagine", task=TEXT_TO_IMAGE, model=PAINTER, options=filled)


def media(logit):
    return Media(str(logit).encode(), "image/png")


def finished(*logits, indexes=None):
    return TaskOutput(
        images=tuple(
            RenderedImage(media=media(logit), width=8, height=8, parameters="", index=index, seed=7 + index)
            for index, logit in zip(indexes or range(len(logits)), logits, strict=True)
        )
    )


def waiting(*logits, kept=4, step=3):
    return Candidates(step=step, kept=kept, images=tuple(Candidate(n, media(one)) for n, one in enumerate(logits)))


@pytest.fixture
def best():
    return BestOf(models=ModelRegistry({"painter": PAINTER, "judge": JUDGE}))


async def test_the_best_comes_first_with_its_seed_and_a_probability(best):
    judge = Judge()

    output = await best.finish(make_task(3), finished(-1.0, 2.0, 0.0), judge)

    assert [(one.seed, round(one.score or 0, 3)) for one in output.images] == [(8, 0.881), (9, 0.5), (7, 0.269)]
    (asked,) = judge.tasks
    assert (asked.command, asked.model, dict(asked.options)) == (RANK, JUDGE, {"text": "a fox"})
    assert asked.id.startswith("job.")


async def test_equal_ones_stay_in_their_order_and_scores_do_not_depend_on_the_others(best):
    output = await best.finish(make_task(3), finished(1.0, 1.0, 1.0), Judge())

    assert [one.index for one in output.images] == [0, 1, 2]
    assert len({one.score for one in output.images}) == 1


async def test_each_picture_is_compared_with_its_own_prompt(best):
    judge = Judge()

    await best.finish(make_task(3, prompts=["a fox", "a cat", "a fox"]), finished(1.0, 2.0, 3.0), judge)

    assert [(task.options["text"], len(task.images)) for task in judge.tasks] == [("a fox", 2), ("a cat", 1)]


async def test_a_job_that_compares_nothing_is_left_as_it_is(best):
    task, output, judge = make_task(2), finished(1.0, 2.0), Judge()
    plain = replace(task, options={name: value for name, value in task.options.items() if name != "best"})

    assert await best.finish(plain, output, judge) is output
    assert judge.tasks == []


async def test_those_with_the_highest_logits_go_on(best):
    kept = await best.choose_rows(make_task(8), waiting(1, 8, 3, 5, 2, 6, 4, 7), Judge())

    assert sorted(kept) == [1, 3, 5, 7]


@pytest.mark.parametrize("failure", [EngineError(detail="broken"), TimeoutError(), ValueError("too few scores")])
async def test_if_the_judge_fails_the_first_go_on_and_the_result_says_so_once(best, failure):
    judge = Judge(failure)
    kept = await best.choose_rows(make_task(8), waiting(1, 8, 3, 5, 2, 6, 4, 7), judge)
    output = await best.finish(make_task(8), finished(1.0, 2.0), judge)
    again = await best.finish(make_task(8), finished(1.0, 2.0), judge)

    assert sorted(kept) == [0, 1, 2, 3]
    assert "without looking at them" in format_note(output.notes[0])
    assert [one.index for one in output.images] == [1, 0]
    assert again.notes == ()


async def test_if_the_judge_fails_at_the_end_all_are_shown_without_a_score(best):
    output = await best.finish(make_task(3), finished(1.0, 2.0, 3.0), Judge(EngineError(detail="broken")))

    assert [(one.index, one.score) for one in output.images] == [(0, None), (1, None), (2, None)]
    assert [format_note(note) for note in output.notes] == [UNRANKED]


async def test_a_judge_that_does_not_answer_is_given_up(best, monkeypatch):
    monkeypatch.setattr(ranked_pictures, "JUDGE_TIMEOUT_S", 0.01)

    async def wait_forever(task):
        await asyncio.Event().wait()

    assert list(await best.choose_rows(make_task(8), waiting(*range(8)), wait_forever)) == [0, 1, 2, 3]


async def test_scores_that_are_no_numbers_judge_nothing(best):
    output = await best.finish(make_task(2), finished("nan", 2.0), Judge())

    assert [one.index for one in output.images] == [0, 1]


async def test_a_cancelled_job_is_not_finished_by_a_failing_judge(best):
    with pytest.raises(JobCancelled):
        await best.choose_rows(make_task(8), waiting(*range(8)), Judge(JobCancelled()))


@pytest.mark.parametrize(("logit", "is_low"), [(-6.0, True), (0.0, False)])
async def test_a_low_match_of_the_best_is_said(best, logit, is_low):
    output = await best.finish(make_task(2), finished(logit, logit - 1), Judge())

    notes = [format_note(note) for note in output.notes]
    assert notes == (["This may not show all that you asked for: a fox"] if is_low else [])


async def test_judged_by_nothing_if_the_judge_was_removed():
    best = BestOf(models=ModelRegistry({"painter": PAINTER}))

    output = await best.finish(make_task(2), finished(1.0, 2.0), Judge())

    assert [format_note(note) for note in output.notes] == [UNRANKED]


class Devices:
    def __init__(self, *loaded, running=0):
        self.statuses = [DeviceStatus(device="cpu", state="ready", loaded=loaded, running=running)]

    def device_statuses(self):
        return self.statuses


def plain_task(**changes):
    task = make_task(2)
    return replace(task, options={name: value for name, value in task.options.items() if name != "best"}, **changes)


@pytest.mark.parametrize(
    ("devices", "changes", "is_judged"),
    [
        (Devices("judge"), {}, True),
        (Devices("judge", running=1), {}, False),
        (Devices("painter"), {}, False),
        (Devices("judge"), {"task": IMAGE_TO_IMAGE}, False),
        (Devices("judge"), {"is_exclusive": True}, False),
    ],
)
async def test_other_pictures_are_judged_where_that_costs_nobody_a_step(devices, changes, is_judged):
    best = BestOf(models=ModelRegistry({"painter": PAINTER, "judge": JUDGE}), pool=devices)
    judge = Judge()

    output = await best.finish(plain_task(**changes), finished(-6.0, -7.0), judge)

    assert (bool(judge.tasks), bool(output.notes)) == (is_judged, is_judged)
    assert [one.score for one in output.images] == [None, None]


@pytest.mark.parametrize("failure", [Interrupted(), EngineError(detail="broken")])
async def test_a_note_that_fails_does_not_cost_the_result(failure):
    devices: Any = Devices("judge")
    best = BestOf(models=ModelRegistry({"painter": PAINTER, "judge": JUDGE}), pool=devices)
    output = finished(-6.0, -7.0)

    assert await best.finish(plain_task(), output, Judge(failure)) == output
