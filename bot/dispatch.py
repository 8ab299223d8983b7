"""Claims by fair share what the pool offers to run, runs it, and records result, refund or retry.

Only this module claims. A job leaves `running` through exactly one storage call, which checks that the claim is still
ours; whatever kills this process in between, the next start requeues the job.
"""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from bot import texts
from bot.errors import (
    EaselError,
    EngineError,
    Interrupted,
    JobCancelled,
    ModelUnavailable,
    OutOfMemory,
    StorageBusy,
    StorageFull,
    UserError,
    WorkerLost,
)
from bot.events import Events
from bot.house import QueueSettings
from bot.jobs import Job, JobError, JobState, Picture, Result
from bot.models import Models
from bot.ports import (
    Described,
    Done,
    JobStore,
    Learned,
    Measured,
    MediaStore,
    Offer,
    Pool,
    Progress,
    Task,
    TaskImage,
)
from bot.pricing import Rates

log = structlog.get_logger()
T = TypeVar("T")

RETRY_RECORD_S = 2.0
IDLE_CHECK_S = 10.0
CRASH_DELAY_S = 1.0


@dataclass
class Attempt:
    """One claim being worked on. `cancelled`: its person does not want it any more."""

    job: Job
    cancelled: bool = False
    lost: bool = False
    began: float | None = None
    """Monotonic time of the first step; loading does not count as use."""

    def check(self) -> None:
        """Raises: JobCancelled."""
        if self.cancelled:
            raise JobCancelled

    @property
    def used_s(self) -> float:
        return 0.0 if self.began is None else time.monotonic() - self.began


@dataclass(kw_only=True)
class Dispatcher:
    """`only_own`: run just the jobs that `wake` names (one-shot commands beside another's queue)."""

    store: JobStore
    media: MediaStore
    learned: Learned
    pool: Pool
    models: Models
    rates: Rates
    events: Events
    settings: QueueSettings
    on_finished: Callable[[Job], None] = lambda _job: None
    only_own: bool = False

    _own: set[str] = field(default_factory=set)
    _attempts: dict[str, Attempt] = field(default_factory=dict)
    _starting: Counter[str] = field(default_factory=Counter)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: bool = False

    def wake(self, job_ids: Iterable[str] = ()) -> None:
        self._own.update(job_ids)
        self._woken.set()

    def interrupt(self, job_id: str) -> None:
        """Cancel a running job at its next step."""
        attempt = self._attempts.get(job_id)
        if attempt is not None:
            attempt.cancelled = True
            self.pool.cancel(job_id)

    async def run(self) -> None:
        """Until `close`; returns when every running job has come to an end or went back to the queue."""
        self.events.on_watched = self.pool.watch
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._keep_leases()), group.create_task(self._listen_to_pool())]
            await self._claim_all(group)
            while self._attempts:
                self._woken.clear()
                await self._woken.wait()
            for keeper in keepers:
                keeper.cancel()

    async def close(self, deadline_s: float) -> None:
        """Claim nothing more; running jobs finish within the deadline or go back to the queue."""
        self._closing = True
        self._woken.set()
        await self.pool.drain(deadline_s)

    # ------------------------------------------------------------ claiming

    async def _claim_all(self, group: asyncio.TaskGroup) -> None:
        while not self._closing:
            self._woken.clear()
            if not await self._claim_some(group) and not self._closing:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), await self._idle_s())

    async def _claim_some(self, group: asyncio.TaskGroup) -> bool:
        claimed = False
        try:
            for offer in self.pool.offers():
                for _ in range(offer.free - self._starting[offer.device]):
                    job = await self._claim(offer)
                    if job is None or self._closing:
                        break
                    claimed = True
                    group.create_task(self._work_on(job, offer.device))
        except EaselError as error:
            log.warning("claiming has to wait", action="claim_failed", code=error.code)
            await asyncio.sleep(RETRY_RECORD_S)
        return claimed

    async def _claim(self, offer: Offer) -> Job | None:
        if self.only_own and not self._own:
            return None
        job = await self.store.claim(
            offer,
            max_running=self.settings.max_running,
            lease_s=self.settings.lease_s,
            swap_wait_s=self.settings.swap_wait_s,
            only=frozenset(self._own) if self.only_own else None,
        )
        if job is not None:
            self._attempts[job.id] = Attempt(job)
            self._starting[offer.device] += 1
            self.events.changed(job.id)
        return job

    async def _idle_s(self) -> float:
        with suppress(EaselError):
            due = await self.store.next_due_s()
            return IDLE_CHECK_S if due is None else min(IDLE_CHECK_S, max(0.05, due))
        return RETRY_RECORD_S

    async def _listen_to_pool(self) -> None:
        while True:
            await self.pool.wait_for_change()
            self._woken.set()

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self.settings.lease_s / 4)
            leases = {attempt.job.id: attempt.job.attempt for attempt in self._attempts.values()}
            with suppress(EaselError):
                renewed = await self.store.renew(leases, self.settings.lease_s)
                for job_id in renewed.cancel:
                    self.interrupt(job_id)
                for job_id in renewed.lost & self._attempts.keys():
                    self._attempts[job_id].lost = True
                    self.interrupt(job_id)
                if await self.store.rescue(max_interruptions=self.settings.max_interruptions):
                    self._woken.set()

    # ------------------------------------------------------------ one job

    async def _work_on(self, job: Job, device: str) -> None:
        attempt = self._attempts[job.id]
        started = _Once(lambda: self._count_started(device))
        with structlog.contextvars.bound_contextvars(job_id=job.id):
            try:
                ended = await self._attempt(attempt, started)
            except Exception as error:  # the edge of a loop that must go on
                ended = await self._record_failure(attempt, error)
            finally:
                started()
                del self._attempts[job.id]
                self._woken.set()
        self.events.changed(job.id)
        if ended is not None and ended.state.is_final:
            self._own.discard(job.id)
            self.on_finished(ended)

    def _count_started(self, device: str) -> None:
        self._starting[device] -= 1

    async def _attempt(self, attempt: Attempt, started: Callable[[], None]) -> Job | None:
        job = attempt.job
        try:
            done = await self._drive(attempt, await self._task_of(job), started)
        except JobCancelled:
            return await self._record(
                lambda: self.store.end(job.id, job.attempt, JobState.CANCELLED, None, used_s=attempt.used_s)
            )
        except (EngineError, Interrupted, UserError) as error:
            return await self._record_failure(attempt, error)
        result = await self._record(lambda: self._keep(job, done))
        ended = await self._record(lambda: self.store.render(job.id, job.attempt, result))
        log.info("job ended", action="job_ended", state=str(ended.state) if ended else "lost", seconds=done.seconds)
        return ended

    async def _task_of(self, job: Job) -> Task:
        model = self.models.get(job.model)
        if model is None:
            raise ModelUnavailable(job.model, "it is no longer in the config")
        images = [TaskImage(ref.role, await self.media.read(ref.id, job.owner)) for ref in job.images]
        return Task(
            id=job.id,
            command=job.command,
            task=job.task,
            model=model,
            options=job.options,
            images=tuple(images),
            share=f"{job.model}/{job.task}",
            watched=self.events.is_watched(job.id),
        )

    async def _drive(self, attempt: Attempt, task: Task, started: Callable[[], None]) -> Done:
        attempt.check()
        async with aclosing(self.pool.run(task)) as events:
            async for event in events:
                started()
                match event:
                    case Progress():
                        if not event.note and attempt.began is None:
                            attempt.began = time.monotonic()
                        self.events.progressed(task.id, event)
                    case Measured():
                        await self._learn(event)
                    case Described():
                        self.models.learn(event.model, event.form)
                        await self.learned.record_form(event.model, event.form)
                    case Done():
                        return event
                if attempt.cancelled:
                    self.pool.cancel(task.id)
        raise EngineError("the pool ended without a result")

    async def _learn(self, measured: Measured) -> None:
        self.rates.learn(measured)
        await self.learned.record(measured)

    # ------------------------------------------------------------ recording how it went

    async def _keep(self, job: Job, done: Done) -> Result:
        """The files first, each fsynced; the rows come with `render`."""
        pictures = []
        for made in done.pictures:
            media_id = await self.media.write(made.media)
            pictures.append(
                Picture(
                    id=media_id,
                    media_type=made.media.media_type,
                    width=made.width,
                    height=made.height,
                    size=len(made.media.data),
                    alt=str(job.options.get("prompt", "")),
                )
            )
        model = self.models.get(job.model)
        demo = (texts.translator(job.origin.locale)(texts.DEMO_HINT),) if model and model.demo else ()
        return Result(
            media=tuple(pictures),
            text=done.text,
            seed=job.options.get("seed"),
            model=job.model,
            revision=done.revision,
            seconds=round(done.seconds, 3),
            parameters=done.pictures[0].parameters if done.pictures else "",
            notes=(*done.notes, *demo),
        )

    async def _record_failure(self, attempt: Attempt, error: Exception) -> Job | None:
        return await self._record(lambda: self._fail(attempt, error))

    async def _fail(self, attempt: Attempt, error: Exception) -> Job | None:
        """Back to the queue where trying again is right, else failed or dead, with a sentence and an incident."""
        job = attempt.job
        match error:
            case Interrupted():
                return await self.store.requeue(
                    job.id, job.attempt, crashed=False, interrupted=True, delay_s=0, alone=False
                )
            case WorkerLost() if not (error.alone and job.crashes + 1 >= self.settings.max_crashes):
                log.warning("worker lost", action="worker_lost", alone=error.alone, detail=error.detail)
                return await self.store.requeue(
                    job.id, job.attempt, crashed=error.alone, interrupted=False, delay_s=CRASH_DELAY_S, alone=True
                )
            case OutOfMemory() if job.failures < error.retries:
                log.warning("out of memory", action="out_of_memory", detail=error.detail)
                return await self.store.requeue(
                    job.id, job.attempt, crashed=False, interrupted=False, delay_s=CRASH_DELAY_S, alone=True
                )
        state = JobState.DEAD if isinstance(error, WorkerLost) else JobState.FAILED
        return await self.store.end(job.id, job.attempt, state, self._explain(job, error), used_s=attempt.used_s)

    def _explain(self, job: Job, error: Exception) -> JobError:
        if isinstance(error, UserError):
            log.info("job refused by the engine", action="job_refused", code=error.code)
            return JobError(code=error.code, message=texts.explain(error, locale=job.origin.locale))
        incident = secrets.token_hex(4)
        log.error("job failed", action="job_failed", incident=incident, error=str(error), exc_info=error)
        code = error.code if isinstance(error, EaselError) else "internal"
        message = texts.explain(error, locale=job.origin.locale, incident=incident)
        return JobError(code=code, message=message, incident=incident)

    async def _record(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write until the disk and the database let us: what was rendered is kept in memory meanwhile."""
        while True:
            try:
                return await write()
            except (StorageBusy, StorageFull) as error:
                log.error("recording has to wait", action="record_waits", code=error.code)
                await asyncio.sleep(RETRY_RECORD_S)


class _Once:
    """Calls through the first time only."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def __call__(self) -> None:
        if self._call is not None:
            self._call()
            self._call = None
