import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
import time_machine

from bot.jobs import JobState
from tests.storage.factories import PLENTY, accept, claim, make_new_job, make_offer, render, requeue

TWO = {"models": frozenset({"fox", "owl"}), "loaded": frozenset({"owl"})}


async def start_and_end(storage, count, **overrides):
    """The owners of the next jobs; each is rendered before the next is claimed."""
    owners = []
    for _ in range(count):
        job = await claim(storage, **overrides)
        if job is None:
            break
        owners.append(job.owner)
        await render(storage, job)
    return owners


async def people(storage, count, start=100):
    return [
        await storage.people.identify_account("discord", str(start + number), "Somebody") for number in range(count)
    ]


async def test_a_claimed_job_runs_under_its_first_attempt(storage, ann):
    [job] = await accept(storage, ann)
    claimed = await claim(storage)

    assert claimed.id == job.id
    assert (claimed.state, claimed.attempt, claimed.version) == (JobState.RUNNING, 1, 2)
    assert claimed.started_at is not None
    assert await claim(storage) is None


async def test_one_person_is_served_in_the_order_of_asking(storage, ann):
    jobs = await accept(storage, ann, 5)
    claimed = [await claim(storage, max_running=9) for _ in jobs]

    assert [job.id for job in claimed] == [job.id for job in jobs]


async def test_concurrent_claims_get_different_jobs(storage, ann):
    await accept(storage, ann, 40)
    claimed = await asyncio.gather(*(claim(storage, max_running=99) for _ in range(50)))

    ids = [job.id for job in claimed if job is not None]
    assert len(ids) == len(set(ids)) == 40


async def test_others_do_not_wait_behind_two_thousand_jobs_of_one_person(storage, ann):
    for _ in range(20):
        await accept(storage, ann, 100)
    others = await people(storage, 10)
    for person in others:
        await accept(storage, person, 5)
    started = Counter(await start_and_end(storage, 60))

    assert all(started[person.id] == 5 for person in others)


async def test_two_spaces_share_evenly_however_many_persons_are_in_each(storage, ann):
    await accept(storage, ann, 40, space="quiet")
    crowd = await people(storage, 10)
    for person in crowd:
        await accept(storage, person, 10, space="crowded")
    started = Counter(await start_and_end(storage, 40))

    assert started[ann.id] == 20
    assert all(started[person.id] == 2 for person in crowd)


async def test_shares_are_of_device_time_not_of_jobs(storage, ann, ben):
    await accept(storage, ann, 20, estimate_s=8.0)
    await accept(storage, ben, 40, estimate_s=2.0)
    owners = []
    for _ in range(25):
        job = await claim(storage)
        owners.append(job.owner)
        await render(storage, job, seconds=8.0 if job.owner == ann.id else 2.0)

    assert Counter(owners) == {ann.id: 5, ben.id: 20}


async def test_demo_jobs_count_for_fairness_though_they_cost_nothing(storage, ann, ben):
    await accept(storage, ann, 10, cost=0.0, estimate_s=2.0)
    await accept(storage, ben, 10, cost=0.0, estimate_s=2.0)

    assert Counter(await start_and_end(storage, 10)) == {ann.id: 5, ben.id: 5}


async def test_a_wrong_estimate_is_corrected_by_what_was_used(storage, ann, ben):
    await accept(storage, ann, 10, estimate_s=2.0)
    await accept(storage, ben, 10, estimate_s=2.0)
    first = await claim(storage)
    await render(storage, first, seconds=20.0)
    other = ben if first.owner == ann.id else ann

    assert await start_and_end(storage, 9) == [other.id] * 9


async def test_idleness_earns_no_credit(storage, ann, ben):
    await accept(storage, ben)
    await start_and_end(storage, 1)
    await accept(storage, ann, 60)
    await start_and_end(storage, 20)
    await accept(storage, ben, 20)

    assert Counter(await start_and_end(storage, 20)) == {ann.id: 10, ben.id: 10}


async def test_past_use_is_no_debt_to_those_who_come_later(storage, ann):
    await accept(storage, ann, 30)
    await start_and_end(storage, 30)
    [newcomer] = await people(storage, 1)
    await accept(storage, newcomer, 20)
    await accept(storage, ann, 20)

    assert Counter(await start_and_end(storage, 20)) == {ann.id: 10, newcomer.id: 10}


async def test_a_new_space_starts_where_the_others_are(storage, ann, ben):
    await accept(storage, ann, 40, space="old")
    await start_and_end(storage, 20)
    await accept(storage, ben, 20, space="new")

    assert Counter(await start_and_end(storage, 20)) == {ann.id: 10, ben.id: 10}


async def test_a_person_at_the_running_limit_is_passed_over_in_every_space(storage, ann, ben):
    await accept(storage, ann, 2, space="one")
    await accept(storage, ann, 2, space="two")
    await accept(storage, ben, 2, space="two")
    owners = [(await claim(storage, max_running=2)).owner for _ in range(4)]

    assert Counter(owners) == {ann.id: 2, ben.id: 2}
    assert await claim(storage, max_running=2) is None


SPARE = {"spare": frozenset({"fox"})}


async def test_who_is_alone_may_have_more_running_jobs_than_the_limit_where_a_device_has_slots_to_spare(storage, ann):
    await accept(storage, ann, 6)
    owners = [(await claim(storage, max_running=2, **SPARE)).owner for _ in range(5)]

    assert owners == [ann.id] * 5
    assert await claim(storage, max_running=2) is None


async def test_a_newcomer_goes_before_further_jobs_of_a_person_at_the_limit(storage, ann, ben):
    await accept(storage, ann, 20)
    await start_and_end(storage, 5)
    for _ in range(6):
        await claim(storage, max_running=2, **SPARE)
    await accept(storage, ben, 3)
    owners = [(await claim(storage, max_running=2, **SPARE)).owner for _ in range(2)]

    assert owners == [ben.id, ben.id]


async def test_people_at_the_limit_share_what_is_to_spare_by_fair_share(storage, ann, ben):
    await accept(storage, ann, 40)
    await accept(storage, ben, 40)
    owners = [(await claim(storage, max_running=2, **SPARE)).owner for _ in range(20)]

    assert Counter(owners) == {ann.id: 10, ben.id: 10}


@pytest.mark.parametrize("where", ["full", "deferred"])
async def test_the_limit_holds_while_somebody_waits_for_another_model(storage, ann, ben, where):
    await accept(storage, ann, 6)
    await accept(storage, ben, model="owl")
    offer = {where: frozenset({"owl"}), **SPARE}
    for _ in range(2):
        await claim(storage, max_running=2, swap_wait_s=60.0, **offer)

    assert await claim(storage, max_running=2, swap_wait_s=60.0, **offer) is None
    assert (await claim(storage, max_running=2, **SPARE)).owner == ann.id


async def test_only_models_with_slots_to_spare_exceed_the_limit(storage, ann):
    await accept(storage, ann, 4, model="owl")
    await accept(storage, ann, 4, model="fox")
    for _ in range(2):
        await claim(storage, max_running=2, **TWO)
    further = await claim(storage, max_running=2, **TWO | {"loaded": frozenset({"fox", "owl"})} | SPARE)

    assert further.model == "fox"


async def test_who_is_alone_may_use_several_devices(storage, ann):
    await accept(storage, ann, 6)
    devices = ["cpu", "cpu", "gpu", "gpu", "gpu"]
    claimed = [await claim(storage, device=device, max_running=2, **SPARE) for device in devices]

    assert None not in claimed
    assert await claim(storage, device="cpu", max_running=2) is None


async def test_only_offered_models_are_claimed(storage, ann):
    await accept(storage, ann, 3, model="owl")
    [fox] = await accept(storage, ann, model="fox")

    assert (await claim(storage)).id == fox.id
    assert await claim(storage) is None


async def test_a_cold_job_gives_way_to_a_warm_one_for_a_while(storage, ann):
    [cold] = await accept(storage, ann, model="fox")
    [warm] = await accept(storage, ann, model="owl")

    assert (await claim(storage, swap_wait_s=5.0, **TWO)).id == warm.id
    assert (await claim(storage, swap_wait_s=5.0, **TWO)).id == cold.id


async def test_a_cold_job_gives_way_no_longer_than_it_should(storage, ann):
    [cold] = await accept(storage, ann, model="fox")
    with time_machine.travel(cold.created_at + timedelta(seconds=6)):
        await accept(storage, ann, model="owl")
        claimed = await claim(storage, swap_wait_s=5.0, **TWO)

    assert claimed.id == cold.id


async def test_a_returned_job_is_the_next_of_its_person(storage, ann):
    first, _second = await accept(storage, ann, 2)
    await requeue(storage, await claim(storage))

    assert (await claim(storage)).id == first.id


async def test_a_job_in_back_off_waits_and_lets_others_pass(storage, ann):
    first, second = await accept(storage, ann, 2)
    await requeue(storage, await claim(storage), delay_s=30.0)
    due_s = await storage.jobs.next_due_s()

    assert 15 < due_s <= 30
    assert (await claim(storage)).id == second.id
    assert await claim(storage) is None
    with time_machine.travel(first.created_at + timedelta(seconds=31)):
        assert (await claim(storage)).id == first.id


async def test_nothing_is_due_when_nothing_is_backed_off(storage, ann):
    await accept(storage, ann)

    assert await storage.jobs.next_due_s() is None


async def test_a_job_that_must_run_alone_goes_first_but_only_to_an_idle_device(storage, ann, ben):
    [lonely] = await accept(storage, ann)
    await requeue(storage, await claim(storage), exclusive=True)
    [other] = await accept(storage, ben)

    assert (await claim(storage, is_idle=False, swap_wait_s=60.0)).id == other.id
    assert await claim(storage, is_idle=False, swap_wait_s=60.0) is None
    assert (await claim(storage, is_idle=True)).id == lonely.id


async def test_a_busy_device_runs_dry_for_a_job_that_must_run_alone(storage, ann, ben):
    [lonely] = await accept(storage, ann)
    await requeue(storage, await claim(storage), exclusive=True)
    await accept(storage, ben, 3)

    assert await claim(storage, is_idle=False, swap_wait_s=0.0) is None
    assert (await claim(storage, is_idle=True, swap_wait_s=0.0)).id == lonely.id


async def test_a_one_shot_command_runs_only_its_own_jobs(storage, ann):
    _others, mine = await accept(storage, ann, 5), await accept(storage, ann, 2)
    ids = frozenset(job.id for job in mine)
    claimed = [await claim(storage, only=ids) for _ in range(3)]

    assert [job and job.id for job in claimed] == [mine[0].id, mine[1].id, None]


async def test_a_return_gives_back_the_charge(storage, ann, ben):
    await accept(storage, ann, 10)
    await accept(storage, ben, 10)
    first = await claim(storage)
    await requeue(storage, first, interrupted=True)

    assert (await claim(storage)).id == first.id


async def test_a_return_keeps_what_was_used_but_never_more_than_the_charge(storage, ann, ben):
    await accept(storage, ann, 10, estimate_s=2.0)
    await accept(storage, ben, 10, estimate_s=2.0)
    for _ in range(2):
        await requeue(storage, await claim(storage), used_s=1.5)
    first, second, third = [await claim(storage, max_running=9) for _ in range(3)]
    await requeue(storage, first, used_s=99.0)

    assert first.owner != second.owner, "both used 1.5 s"
    assert third.owner == first.owner
    assert (await claim(storage, max_running=9)).owner == second.owner


async def test_the_queue_view_shows_the_jobs_ahead(storage, ann, ben):
    await accept(storage, ann, 3, estimate_s=2.0)
    [mine] = await accept(storage, ann, estimate_s=6.0)
    await accept(storage, ben, 2, space="elsewhere", estimate_s=2.0)
    await claim(storage, max_running=1)
    view = await storage.jobs.queue_view(mine.id)

    assert view.own_ahead + sum(lane.backlog for lane in view.spaces) in (4, 5)
    assert view.running == 1
    assert view.people == ()
    assert 2.0 < view.mean_s < 4.0
    running = await claim(storage, max_running=9)
    assert await storage.jobs.queue_view(running.id) is None


async def test_the_queue_view_shows_the_persons_running_jobs(storage, ann, ben):
    jobs = await accept(storage, ann, 3)
    await accept(storage, ben)
    for _ in range(3):
        await claim(storage)

    view = await storage.jobs.queue_view(jobs[-1].id)
    assert (view.running, view.own_running) == (3, 2)


async def test_states_are_counted(storage, ann):
    await accept(storage, ann, 4)
    await claim(storage)
    await render(storage, await claim(storage))
    counts = await storage.jobs.count_by_state()

    assert (counts[JobState.QUEUED], counts[JobState.RUNNING], counts[JobState.DELIVERED]) == (2, 1, 1)
    assert counts[JobState.DEAD] == 0


async def test_an_offer_without_models_gets_nothing(storage, ann):
    await storage.jobs.accept_jobs([make_new_job(ann)], key=None, limits=PLENTY)

    offer = make_offer(models=frozenset(), loaded=frozenset())
    assert await storage.jobs.claim_job(offer, max_running=2, lease_s=60, swap_wait_s=0) is None


async def test_a_busy_device_runs_dry_for_a_model_that_it_cannot_load_beside_what_runs(storage, ann, ben):
    await accept(storage, ann, model="owl")
    await accept(storage, ben, 9, model="fox")
    offer = {
        "models": frozenset({"fox"}),
        "loaded": frozenset({"fox"}),
        "deferred": frozenset({"owl"}),
        "is_idle": False,
    }

    assert (await claim(storage, **offer, swap_wait_s=20.0)).model == "fox"
    assert await claim(storage, **offer, swap_wait_s=0.0) is None
    assert (await claim(storage, models=frozenset({"fox", "owl"}), swap_wait_s=0.0)).model == "owl"


async def test_a_device_that_has_just_loaded_a_model_is_not_made_to_load_another(storage, ann, ben):
    await accept(storage, ann, model="owl")
    await accept(storage, ben, 9, model="fox")
    late = {"models": frozenset({"fox", "owl"}), "loaded": frozenset({"fox"}), "swap_wait_s": 0.05}
    await asyncio.sleep(0.06)

    assert (await claim(storage, **late, since_load_s=0.04)).model == "fox"
    assert (await claim(storage, **late, since_load_s=0.05)).model == "owl"


async def test_a_job_that_must_run_alone_is_waited_for_though_its_model_is_full(storage, ann, ben):
    await accept(storage, ann, model="owl")
    await requeue(storage, await claim(storage, models=frozenset({"owl"})), exclusive=True)
    await accept(storage, ben, model="fox")
    full = {"models": frozenset({"fox"}), "full": frozenset({"owl"}), "is_idle": False, "swap_wait_s": 0.0}

    assert await claim(storage, **full) is None


async def test_no_job_starves_with_eight_on_one_device(storage, ann):
    """One person has 200 long jobs, then 50 people submit a short one each. Shared passes are charged in parts."""
    await accept(storage, ann, 200, estimate_s=8.0)
    light = await people(storage, 50)
    for person in light:
        await accept(storage, person, estimate_s=1.0)
    running: list[Any] = []
    order: list[str] = []
    while len(order) < 90:
        job = await claim(storage, is_idle=not running)
        if job is not None:
            running.append(job)
            order.append(job.owner)
            assert Counter(one.owner for one in running)[ann.id] <= 2
        if job is None or len(running) == 8:
            done = running.pop(0)
            await render(storage, done, seconds=4.0 if done.owner == ann.id else 0.5)

    heard = [order.index(person.id) for person in light]
    assert max(heard) < 60
    assert order[:60].count(ann.id) >= 4, "the heavy one gets a turn, too"
    assert order[60:] == [ann.id] * 30
