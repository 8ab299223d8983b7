"""Claims by fair share what the pool offers to run, runs it, and records result, refund or retry.

Only this module claims. A job leaves `running` through exactly one storage call, which checks that the claim is still
ours; whatever kills this process in between, the next start requeues the job.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import structlog

from bot import error_texts
from bot.commands import answer_of
from bot.commands.upscale import is_resize
from bot.errors import (
    EaselError,
    EngineError,
    Interrupted,
    InterruptedTooOften,
    JobCancelled,
    ModelRemoved,
    OutOfMemory,
    StorageBusy,
    StorageFull,
    UserError,
    WorkerLost,
)
from bot.jobs import Job, JobError, JobState
from bot.models import Models
from bot.ports import (
    Described,
    Done,
    JobStore,
    Judge,
    Learned,
    Measured,
    MediaStore,
    Offer,
    Pool,
    Progress,
    Task,
    TaskImage,
)
from bot.prompts.resolver import Wording
from bot.queue.attempt import Attempt, Shares, runs_alone
from bot.queue.postprocess import Finishing
from bot.queue.pricing import Rates
from bot.queue.progress import Events
from bot.settings.core import QueueSettings

log = structlog.get_logger()
T = TypeVar("T")

RETRY_RECORD_S = 2.0
IDLE_CHECK_S = 10.0
CRASH_DELAY_S = 1.0
LAST_RECORD_S = 5.0
"""How long after the drain's deadline results may still be written."""


@dataclass(kw_only=True)
class Dispatcher:
    """`only_own`: run just the jobs that `wake` names (one-shot commands beside another's queue)."""

    store: JobStore
    media: MediaStore
    learned: Learned
    pool: Pool
    models: Models
    rates: Rates
    finishing: Finishing
    moderation: Judge
    events: Events
    settings: QueueSettings
    wording: Wording = field(default_factory=Wording)
    on_finished: Callable[[Job], None] = lambda _job: None
    only_own: bool = False

    _own: set[str] = field(default_factory=set)
    _shares: Shares = field(default_factory=Shares)
    _attempts: dict[str, Attempt] = field(default_factory=dict)
    _cancelled_early: set[str] = field(default_factory=set)
    """Running, says the store, while the answer of `claim` is still on its way here."""
    _lonely: dict[str, float] = field(default_factory=dict)
    """Jobs that wait for an idle device, and the monotonic time from which they may have it."""
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: bool = False
    _record_until: float = math.inf

    def wake(self, job_ids: Iterable[str] = ()) -> None:
        self._own.update(job_ids)
        self._woken.set()

    def interrupt(self, job_id: str) -> None:
        """Cancel a running job at its next step."""
        attempt = self._attempts.get(job_id)
        if attempt is None:
            self._cancelled_early.add(job_id)
        else:
            self._stop(attempt)

    async def run(self) -> None:
        """Until `close`; returns when every running job has come to an end or went back to the queue."""
        self.events.on_watched = self.pool.watch
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._repeat(step)) for step in (self._keep_leases, self._listen_to_pool)]
            await self._claim_all(group)
            while self._attempts:
                self._woken.clear()
                await self._woken.wait()
            for keeper in keepers:
                keeper.cancel()

    async def close(self, deadline_s: float) -> None:
        """Claim nothing more; running jobs finish within the deadline or go back to the queue."""
        self._closing = True
        self._record_until = time.monotonic() + deadline_s + LAST_RECORD_S
        self._woken.set()
        await self.pool.drain(deadline_s)

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._guarded(step)

    async def _guarded(self, step: Callable[[], Awaitable[T]]) -> T | None:
        """One round of a loop that must go on: what fails is logged and tried again after a wait."""
        try:
            return await step()
        except EaselError as error:
            log.warning("the queue has to wait", action="queue_waits", step=step.__name__, code=error.code)
        except Exception as error:  # the edge of a loop that must go on
            log.error("the queue stumbled", action="queue_stumbled", step=step.__name__, exc_info=error)
        await asyncio.sleep(RETRY_RECORD_S)
        return None

    # ------------------------------------------------------------ claiming

    async def _claim_all(self, group: asyncio.TaskGroup) -> None:
        async def claim_some() -> bool:
            return await self._claim_some(group)

        while not self._closing:
            self._woken.clear()
            if await self._guarded(claim_some) is False and not self._closing:
                idle_s = await self._idle_s()
                with suppress(TimeoutError):
                    async with asyncio.timeout(idle_s):  # in Python 3.11, wait_for can swallow a cancel
                        await self._woken.wait()

    async def _claim_some(self, group: asyncio.TaskGroup) -> bool:
        """At most one job for each device; returns whether there was any."""
        claimed = False
        for device in [offer.device for offer in self.pool.offers()]:
            offer = self._offer_of(device)
            if offer is None or self._closing:
                continue
            attempt = await self._claim(offer)
            if attempt is not None:
                claimed = True
                group.create_task(self._work_on(attempt))
        return claimed

    def _offer_of(self, device: str) -> Offer | None:
        """What the device takes now, beyond what was claimed for it and has not reached it yet."""
        here = [attempt for attempt in self._attempts.values() if attempt.device == device]
        starting = [attempt.job.model for attempt in here if attempt.is_starting]
        for offer in self.pool.offers({device: starting}):
            if offer.device == device:
                keeps_to_itself = any(runs_alone(attempt.job) for attempt in here) or (self._lonely and not offer.idle)
                return None if keeps_to_itself else offer
        return None

    async def _claim(self, offer: Offer) -> Attempt | None:
        if self.only_own and not self._own:
            return None
        self._cancelled_early.clear()
        asked_at = time.monotonic()
        job = await self.store.claim(
            offer,
            max_running=self.settings.max_running,
            lease_s=self.settings.lease_s,
            swap_wait_s=self.settings.swap_wait_s,
            only=frozenset(self._own) if self.only_own else None,
        )
        if offer.idle and (job is None or not runs_alone(job)):
            # An idle device takes a lonely job first: those that are due were cancelled, or may not run yet.
            self._lonely = {one: due for one, due in self._lonely.items() if due > asked_at}
        if job is None:
            return None
        self._lonely.pop(job.id, None)
        cancelled = job.cancel_requested or job.id in self._cancelled_early
        attempt = self._attempts[job.id] = Attempt(job, offer.device, cancelled)
        self.events.changed(job.id)
        return attempt

    async def _idle_s(self) -> float:
        with suppress(EaselError):
            due = await self.store.next_due_s()
            return IDLE_CHECK_S if due is None else min(IDLE_CHECK_S, max(0.05, due))
        return RETRY_RECORD_S

    async def _listen_to_pool(self) -> None:
        await self.pool.wait_for_change()
        self._woken.set()

    async def _keep_leases(self) -> None:
        await asyncio.sleep(self.settings.lease_s / 4)
        leases = {attempt.job.id: attempt.job.attempt for attempt in self._attempts.values()}
        renewed = await self.store.renew(leases, self.settings.lease_s)
        for job_id in renewed.cancel | renewed.lost:
            attempt = self._attempts.get(job_id)
            if attempt is not None and attempt.job.attempt == leases[job_id]:
                self._stop(attempt)
        if await self.store.rescue(max_interruptions=self.settings.max_interruptions):
            self._woken.set()

    def _stop(self, attempt: Attempt) -> None:
        attempt.cancelled = True
        self.pool.cancel(attempt.job.id)

    # ------------------------------------------------------------ one job

    async def _work_on(self, attempt: Attempt) -> None:
        job = attempt.job
        ended = None
        with structlog.contextvars.bound_contextvars(job_id=job.id):
            try:
                ended = await self._finish(attempt)
            except Exception as error:  # the edge of a loop that must go on: the claim will run out
                log.error("the end was not recorded", action="record_failed", exc_info=error)
            finally:
                if self._attempts.get(job.id) is attempt:
                    del self._attempts[job.id]
                self._woken.set()
        self.events.changed(job.id)
        if ended is not None and ended.state.is_final:
            self._own.discard(job.id)
            self.on_finished(ended)

    async def _finish(self, attempt: Attempt) -> Job | None:
        """The job after this attempt; None: the claim was no longer ours."""
        job = attempt.job
        try:
            task = await self._task_of(job)
            done = self.moderation.judged(await self._drive(attempt, task), task.rules)
            alts = await self.finishing.alts(job, done, share=task.share, may_wait=not self._closing)
            result = await self._record(lambda: self.finishing.keep(job, done, alts))
            ended = await self._record(lambda: self.store.render(job.id, job.attempt, result))
        except Exception as error:  # whatever it is, the job has to leave `running`
            return await self._record(self._after(attempt, error))
        log.info("job ended", action="job_ended", state=str(ended.state) if ended else "lost", seconds=done.seconds)
        return ended

    async def _task_of(self, job: Job) -> Task:
        model = self.models.get(job.model)
        if model is None:
            raise ModelRemoved(job.model)
        images = [
            TaskImage(ref.role, await self._record(partial(self.media.read, ref.id, job.owner))) for ref in job.images
        ]
        additions = () if is_resize(job.command, job.options) else await self.wording.additions_of(job.options, model)
        rules = await self._record(partial(self.moderation.rules_of, job, model))
        return Task(
            id=job.id,
            command=job.command,
            task=job.task,
            model=model,
            options=job.options,
            answers=answer_of(job.command).value,
            images=tuple(images),
            additions=additions,
            share=self._shares.of(job),
            watched=self.events.is_watched(job.id) and (rules is None or rules.may_preview),
            alone=runs_alone(job),
            rules=rules,
        )

    async def _drive(self, attempt: Attempt, task: Task) -> Done:
        attempt.check()
        if is_resize(task.command, task.options):
            attempt.is_starting = False  # no device will count it
            return await self.finishing.resize(task, attempt.job.origin.locale)
        async with aclosing(self.pool.run(task)) as events:
            attempt.is_starting = False  # the pool counts a task from its first step on, which comes next
            async for event in events:
                match event:
                    case Progress():
                        attempt.used_s = max(attempt.used_s, event.used_s)
                        self.events.progressed(task.id, event)
                    case Measured() | Described():
                        await self._learn(event)
                    case Done():
                        return event
                if attempt.cancelled:
                    self.pool.cancel(task.id)
        raise EngineError("the pool ended without a result")

    async def _learn(self, event: Measured | Described) -> None:
        """What is learned serves at once; keeping it over a restart is best effort."""
        try:
            match event:
                case Measured():
                    self.rates.learn(event)
                    await self.learned.record(event)
                case Described():
                    self.moderation.heard(event)
                    self.models.learn(event.model, event.form)
                    await self.learned.record_form(event.model, event.form)
        except EaselError as error:
            log.warning("what was learned is not kept", action="learn_failed", code=error.code)

    # ------------------------------------------------------------ recording how it went

    def _after(self, attempt: Attempt, error: Exception) -> Callable[[], Awaitable[Job | None]]:
        """Back to the queue where trying again is right, else an end with a sentence and an incident.

        Decided and logged once; what is returned may be called until the store takes it.
        """
        job, used_s = attempt.job, attempt.used_s
        match error:
            case JobCancelled() if attempt.cancelled:
                return lambda: self.store.end(job.id, job.attempt, JobState.CANCELLED, None, used_s=used_s)
            case Interrupted() | JobCancelled() | StorageBusy() | StorageFull():
                if job.interruptions < self.settings.max_interruptions:
                    return lambda: self._requeue(job, interrupted=True, delay_s=0, alone=runs_alone(job))
                error = InterruptedTooOften()
            case WorkerLost() if not (error.alone and job.crashes + 1 >= self.settings.max_crashes):
                log.warning("worker lost", action="worker_lost", alone=error.alone, detail=error.detail)
                crashed = error.alone
                return lambda: self._requeue(job, crashed=crashed, delay_s=CRASH_DELAY_S, alone=True, used_s=used_s)
            case OutOfMemory() if job.failures < error.retries:
                log.warning("out of memory", action="out_of_memory", detail=error.detail)
                return lambda: self._requeue(job, delay_s=CRASH_DELAY_S, alone=True, used_s=used_s)
        state = JobState.DEAD if isinstance(error, WorkerLost) else JobState.FAILED
        reason = self._explain(job, error)
        return lambda: self.store.end(job.id, job.attempt, state, reason, used_s=used_s)

    async def _requeue(
        self,
        job: Job,
        *,
        crashed: bool = False,
        interrupted: bool = False,
        delay_s: float,
        alone: bool,
        used_s: float = 0.0,
    ) -> Job | None:
        queued = await self.store.requeue(
            job.id, job.attempt, crashed=crashed, interrupted=interrupted, delay_s=delay_s, alone=alone, used_s=used_s
        )
        if alone and queued is not None and queued.state is JobState.QUEUED:
            self._lonely[job.id] = time.monotonic() + delay_s
        return queued

    def _explain(self, job: Job, error: Exception) -> JobError:
        if isinstance(error, UserError):
            log.info("job refused by the engine", action="job_refused", code=error.code)
            return JobError(code=error.code, message=error_texts.explain(error, locale=job.origin.locale))
        incident = secrets.token_hex(4)
        log.error("job failed", action="job_failed", incident=incident, error=str(error), exc_info=error)
        code = error.code if isinstance(error, EaselError) else "internal"
        message = error_texts.explain(error, locale=job.origin.locale, incident=incident)
        return JobError(code=code, message=message, incident=incident)

    async def _record(self, write: Callable[[], Awaitable[T]]) -> T:
        """Try until the disk and the database let us: what was rendered is kept in memory meanwhile."""
        while True:
            try:
                return await write()
            except (StorageBusy, StorageFull) as error:
                if time.monotonic() > self._record_until:
                    raise
                log.error("recording has to wait", action="record_waits", code=error.code)
            await asyncio.sleep(RETRY_RECORD_S)
