"""How long a task of a device goes on, from what is left of all its tasks."""

from dataclasses import replace

import pytest

from bot.ports import TaskWork
from bot.queue.shared_passes import steps_until_end
from inference.diffusion.schedule_policy import MAX_WAIT_PASSES, WaitingSequence, select_batch

STEPS = 10


def make_work(task, owner="ann", images=1, step=0, steps=STEPS):
    return TaskWork(task=task, owner=owner, images=images, step=images * step, steps=images * steps)


def test_of_ones_own_equal_jobs_one_ends_after_another():
    work = [make_work(str(number), images=4) for number in range(8)]

    until = [steps_until_end(one.task, work, 4) for one in work]

    assert until == sorted(until)
    assert 4 * STEPS <= until[0] <= 8 * STEPS
    assert until[-1] == 8 * 4 * STEPS


def test_the_one_that_is_closest_to_its_end_goes_first():
    work = [make_work("late", step=2, images=4), make_work("early", step=8), make_work("next", step=5, images=2)]

    early, middle, late = (steps_until_end(name, work, 1) for name in ("early", "next", "late"))

    assert 2 <= early <= 4
    assert 2 + 10 <= middle <= 24
    assert late == 2 + 10 + 32


@pytest.mark.parametrize("batch", [1, 2, 4, 8, 16])
def test_it_is_about_what_the_step_loops_policy_does(batch):
    """Eight jobs of one person, with four images each."""
    images = {
        (job, number): WaitingSequence(
            id=(job, number), owner="ann", batch_key="", tokens=1, steps_left=30, passes_waited=0, arrival=4 * job
        )
        for job in range(8)
        for number in range(4)
    }
    work = [make_work(str(job), images=4, steps=30) for job in range(8)]
    told = {one.task: steps_until_end(one.task, work, batch) for one in work}
    ends: dict[str, int] = {}
    made = without_overdue = 0
    while images:
        chosen = select_batch(images.values(), lambda _: batch, without_overdue)
        taken = {key for key, one in images.items() if one in chosen}
        longest = max(one.passes_waited for one in images.values())
        is_served = longest < MAX_WAIT_PASSES or any(images[one].passes_waited == longest for one in taken)
        without_overdue = 0 if is_served else without_overdue + 1
        for key, one in list(images.items()):
            left, waited = one.steps_left - (key in taken), 0 if key in taken else one.passes_waited + 1
            images[key] = replace(one, steps_left=left, passes_waited=waited)
        made += len(taken)
        images = {key: one for key, one in images.items() if one.steps_left}
        ends |= {
            str(job): made for job in range(8) if str(job) not in ends and not any(key[0] == job for key in images)
        }

    assert all(0.6 * ends[job] <= told[job] <= 1.4 * ends[job] for job in ends), (told, ends)


def test_images_that_share_every_pass_end_together():
    work = [make_work("one"), make_work("two", "bob")]

    assert [steps_until_end(name, work, 8) for name in ("one", "two")] == [2 * STEPS, 2 * STEPS]
    assert steps_until_end("one", [make_work("one"), make_work("two")], 8) == 2 * STEPS


def test_many_jobs_of_another_person_delay_no_more_than_one():
    own, many = make_work("own", "bob"), [make_work(str(number), images=4) for number in range(14)]

    assert steps_until_end("own", [*many, own], 1) == 2 * STEPS
    assert steps_until_end("13", [*many, own], 1) == 14 * 4 * STEPS + STEPS


def test_a_task_that_has_ended_has_no_step_left():
    assert steps_until_end("one", [make_work("one", step=STEPS), make_work("two")], 4) == 0
