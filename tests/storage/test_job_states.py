"""The ledger stays exact in any order of events: a model of the queue, compared with the real one."""

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bot.errors import NotCancellable, QueueFull, QuotaExceeded
from bot.jobs import TRANSITIONS, Job, JobError, JobState
from bot.ports import Limits
from storage import open_storage
from tests.storage.conftest import SETTINGS
from tests.storage.factories import accept, claim, render, requeue

DAILY_S = 30.0
OUTSTANDING = 6
WRONG = JobError(code="engine_failed", message="It went wrong.")


class Queue(RuleBasedStateMachine):
    template: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        shutil.copy(self.template, self.folder / "easel.db")
        self.runner = asyncio.Runner()
        self.opened = open_storage(SETTINGS, self.folder)
        self.storage = self.run(self.opened.__aenter__())
        self.known: dict[str, Job] = {}
        self.claims: list[Job] = []
        self.erased: set[str] = set()

    def run(self, coroutine):
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        self.run(self.opened.__aexit__(None, None, None))
        self.runner.close()
        shutil.rmtree(self.folder)

    @initialize()
    def people_arrive(self) -> None:
        names = ("Ann", "Ben", "Cleo")
        self.people = [self.run(self.storage.people.identify_account("discord", name, name)) for name in names]

    @rule(
        who=st.integers(0, 2),
        count=st.integers(1, 3),
        cost=st.sampled_from([0.0, 0.1, 2.5, 7.0]),
        space=st.sampled_from(["one", "two"]),
        wants_delivery=st.booleans(),
    )
    def ask(self, who, count, cost, space, wants_delivery) -> None:
        limits = Limits(daily_s=DAILY_S, outstanding=OUTSTANDING, total_queued=12)
        request = accept(
            self.storage,
            self.people[who],
            count,
            cost=cost,
            estimate_s=cost + 1,
            space=space,
            wants_delivery=wants_delivery,
            limits=limits,
        )
        with contextlib.suppress(QuotaExceeded, QueueFull):
            self.known.update({job.id: job for job in self.run(request)})

    @rule(idle=st.booleans(), max_running=st.integers(1, 3))
    def claim_one(self, idle, max_running) -> None:
        job = self.run(claim(self.storage, is_idle=idle, max_running=max_running))
        if job is None:
            return
        assert job.id not in self.erased
        open_now = [one.id for one in self.claims if one.id in self.known]
        assert sum(self.known[one].owner == job.owner and self.is_running(one) for one in open_now) < max_running
        self.claims.append(job)

    def is_running(self, job_id: str) -> bool:
        return self.known[job_id].state == JobState.RUNNING

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), used_s=st.sampled_from([0.0, 0.3, 50.0]))
    def finish(self, data, used_s) -> None:
        job = data.draw(st.sampled_from(self.claims))
        self.settled(job, self.run(render(self.storage, job, seconds=used_s)))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), state=st.sampled_from([JobState.FAILED, JobState.DEAD, JobState.CANCELLED]))
    def end(self, data, state) -> None:
        job = data.draw(st.sampled_from(self.claims))
        self.settled(job, self.run(self.storage.jobs.end_job(job.id, job.attempt, state, WRONG, used_s=0.5)))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), crashed=st.booleans(), interrupted=st.booleans(), delay_s=st.sampled_from([0.0, 60.0]))
    def give_back(self, data, crashed, interrupted, delay_s) -> None:
        job = data.draw(st.sampled_from(self.claims))
        why = {"crashed": crashed, "interrupted": interrupted, "exclusive": crashed, "delay_s": delay_s}
        self.settled(job, self.run(requeue(self.storage, job, **why)))

    def settled(self, claimed: Job, after: Job | None) -> None:
        """Only the current claim may change a job; lost claims change nothing."""
        if claimed.id in self.erased:
            assert after is None or (after.state == JobState.CANCELLED and not after.options)
            return
        present = self.known[claimed.id]
        held = present.state == JobState.RUNNING and present.attempt == claimed.attempt
        assert (after is not None) == held

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def cancel(self, data) -> None:
        job = data.draw(st.sampled_from(list(self.known.values())))
        try:
            self.run(self.storage.jobs.request_cancel(job.id, job.owner))
        except NotCancellable:
            assert job.state.is_final

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def lose_the_model(self, data) -> None:
        job = data.draw(st.sampled_from(list(self.known.values())))
        self.run(self.storage.jobs.fail_queued(job.id, WRONG))

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def erase(self, data) -> None:
        job = data.draw(st.sampled_from(list(self.known.values())))
        assert self.run(self.storage.privacy.erase_job(job.id, job.owner)) == job
        self.lose(job.id)

    @rule(who=st.integers(0, 2))
    def forget(self, who) -> None:
        name = ("Ann", "Ben", "Cleo")[who]
        gone = self.people[who]
        self.run(self.storage.privacy.forget_person(gone.id))
        for job_id in [job.id for job in self.known.values() if job.owner == gone.id]:
            self.lose(job_id)
        self.people[who] = self.run(self.storage.people.identify_account("discord", name, name))
        assert self.people[who].id != gone.id

    def lose(self, job_id: str) -> None:
        del self.known[job_id]
        self.erased.add(job_id)
        assert job_id not in {delivery.job.id for delivery in self.run(self.storage.outbox.due_deliveries(1000))}

    @rule(most=st.integers(0, 2))
    def start_again(self, most) -> None:
        self.run(self.storage.jobs.requeue_interrupted(max_interruptions=most))

    @rule()
    def deliver(self) -> None:
        for delivery in self.run(self.storage.outbox.due_deliveries()):
            self.run(self.storage.outbox.mark_sent(delivery, "message"))

    @invariant()
    def moves_are_legal_and_the_books_exact(self) -> None:
        for job_id, before in self.known.items():
            now = self.run(self.storage.jobs.get_job(job_id, before.owner))
            assert now.version >= before.version
            assert (now.state == before.state) or _may_become(before.state, now.state)
            assert (now == before) == (now.version == before.version)
            self.known[job_id] = now
        assert self.run(self.storage.ledger.find_imbalances()) == []

    @invariant()
    def limits_hold(self) -> None:
        for person in getattr(self, "people", []):
            mine = [job for job in self.known.values() if job.owner == person.id]
            assert sum(not job.state.is_final for job in mine) <= OUTSTANDING
            day = mine[0].created_at.date().isoformat() if mine else "2026-01-01"
            usage = self.run(self.storage.ledger.daily_usage(person.id, day))
            assert usage.used + usage.reserved <= DAILY_S


def _may_become(before: JobState, after: JobState) -> bool:
    """Whether the state is reachable by allowed transitions."""
    seen, open_states = set(), {before}
    while open_states:
        seen |= open_states
        open_states = {state for one in open_states for state in TRANSITIONS[one]} - seen
    return after in seen - {before}


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_any_order_of_events_leaves_the_books_exact(fresh_database):
    Queue.template = fresh_database
    Queue.TestCase.settings = settings(
        max_examples=6,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    Queue.TestCase("runTest").runTest()
