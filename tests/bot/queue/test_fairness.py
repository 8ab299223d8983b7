"""The closed form of the queue position, compared with a simulation."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.ports import FairShareLane, QueueView
from bot.queue.fairness import queue_position, wait_s

OURS = 0


@dataclass
class Share:
    """A simulated lane. The first one of a list is ours, and goes first at equal virtual times."""

    vtime: float
    backlog: int


def fairest(shares):
    waiting = [share for share in shares if share.backlog]
    return min(waiting, key=lambda share: share.vtime)


def start(share, mean):
    share.vtime += mean
    share.backlog -= 1


def simulate(view):
    """Claim until our job is claimed; returns the number of claims."""
    spaces = [Share(lane.vtime, lane.backlog) for lane in (view.space, *view.spaces)]
    people = [Share(lane.vtime, lane.backlog) for lane in (view.person, *view.people)]
    left, claims = view.own_ahead, 0
    while True:
        claims += 1
        space = fairest(spaces)
        start(space, view.mean_s)
        if space is spaces[OURS]:
            person = fairest(people)
            start(person, view.mean_s)
            if person is people[OURS]:
                left -= 1
                if left < 0:
                    return claims


def lanes(least):
    # Whole numbers: ties happen, and no rounding does.
    return st.builds(FairShareLane, vtime=st.integers(0, 20).map(float), backlog=st.integers(least, 8))


@st.composite
def views(draw):
    person, people = draw(lanes(1)), draw(st.lists(lanes(1), max_size=4))
    backlog = person.backlog + sum(lane.backlog for lane in people)
    return QueueView(
        own_ahead=draw(st.integers(0, person.backlog - 1)),
        person=person,
        people=tuple(people),
        space=FairShareLane(vtime=float(draw(st.integers(0, 20))), backlog=backlog),
        spaces=tuple(draw(st.lists(lanes(1), max_size=4))),
        mean_s=float(draw(st.integers(1, 5))),
        running=0,
    )


def make_view(**overrides):
    lane = FairShareLane(vtime=0.0, backlog=1)
    plain = {"own_ahead": 0, "person": lane, "people": (), "space": lane, "spaces": (), "mean_s": 2.0, "running": 0}
    return QueueView(**{**plain, **overrides})


@given(views())
def test_a_position_is_the_number_of_claims_until_the_job_starts(view):
    assert queue_position(view) == simulate(view)


def test_the_only_job_is_next():
    assert queue_position(make_view()) == 1


def test_one_persons_thousand_jobs_do_not_hold_up_another():
    crowd = FairShareLane(vtime=10.0, backlog=1000)

    assert queue_position(make_view(person=FairShareLane(vtime=10.0, backlog=1), people=(crowd,))) <= 2


def test_jobs_without_an_estimate_still_have_a_position():
    assert queue_position(make_view(mean_s=0.0, people=(FairShareLane(vtime=-1.0, backlog=3),))) == 4


def test_waiting_is_what_runs_and_what_comes_before():
    view = make_view(own_ahead=3, person=FairShareLane(vtime=0.0, backlog=4), running=1)

    assert wait_s(view, slots=1, max_running=2) == (3 + 0.5) * 2.0


def test_a_job_with_a_free_slot_does_not_wait():
    assert wait_s(make_view(running=3), slots=8, max_running=2) == 0.0


def test_with_all_slots_in_use_the_queue_advances_as_fast_as_jobs_end():
    view = make_view(people=(FairShareLane(vtime=-9.0, backlog=4),), running=8)

    assert queue_position(view) == 5
    assert wait_s(view, slots=8, max_running=2, stretch=3.0) == pytest.approx((4 + 0.5) / 8 * 2.0 * 3.0)


def test_a_person_who_may_run_two_waits_for_these_and_not_for_the_other_places():
    view = make_view(own_ahead=10, person=FairShareLane(vtime=0.0, backlog=11), running=2, own_running=2)

    assert wait_s(view, slots=8, max_running=2) == (10 + 0.5) / 2 * 2.0


def test_there_is_a_wait_while_devices_are_still_starting():
    assert wait_s(make_view(own_ahead=1, person=FairShareLane(vtime=0.0, backlog=2)), slots=0, max_running=2) == 2.0


@given(places=st.integers(1, 8), ahead=st.integers(0, 40), stages=st.integers(0, 1000))
def test_a_wait_is_within_a_turn_of_what_happens(places, ahead, stages):
    """Jobs of one second each on busy slots, at regular intervals; ours starts after all jobs before it."""
    ends = [(stages / 1000 + place) / places for place in range(places)]
    for _ in range(ahead + 1):
        ends.sort()
        starts = ends[0]
        ends[0] += 1.0
    view = make_view(people=(FairShareLane(vtime=-99.0, backlog=ahead),), running=places, mean_s=1.0)

    assert wait_s(view, slots=places, max_running=99) == pytest.approx(starts, abs=1 / places)
