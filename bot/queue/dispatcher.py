"""Claims jobs by fair share for the pool's offers, runs them, and records the result, refund or retry.

Only this module claims jobs. A job leaves `running` through exactly one storage call, which checks that the claim is
still ours; if this process is killed in between, the next start requeues the job.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import structlog

from bot import error_texts
from bot.errors import (
    EaselError,
    Interrupted,
    InterruptedTooOften,
    JobCancelled,
    OutOfMemory,
    StorageBusy,
    StorageFull,
    UserError,
    WorkerLost,
)
from bot.jobs import Job, JobError, JobState
from bot.models import ModelRegistry
from bot.ports import (
    NO_METRICS,
    JobStore,
    Measurement,
    MeasurementStore,
    MediaStore,
    ModelCapabilities,
    ModerationPolicy,
    Offer,
    Pool,
    WorkMetrics,
)
from bot.prompts.resolver import PromptResolver
from bot.queue.attempt import Attempt, FairnessKeys, needs_exclusive_device
from bot.queue.postprocess import Postprocessor
from bot.queue.pricing import Rates
from bot.queue.progress import ProgressBus
from bot.queue.task_runner import AdapterSource, Finish, Preparation, RowChooser, TaskRunner, TextChanges
from bot.queue.threads import ThreadReader
from bot.settings.core import QueueSettings

log = structlog.get_logger()
T = TypeVar("T")

STORAGE_RETRY_S = 2.0
IDLE_CHECK_S = 10.0
CRASH_DELAY_S = 1.0
EVERY_JOB = 10**6
"""Running jobs of one person, where there is nobody else."""
FINAL_STORE_S = 5.0
"""How long results may still be stored after the drain's deadline."""


@dataclass(kw_only=True)
class Dispatcher:
    """`only_submitted`: run only the jobs passed to `wake` (one-shot commands; the queue may hold jobs of others)."""

    store: JobStore
    media: MediaStore
    measurements: MeasurementStore
    pool: Pool
    models: ModelRegistry
    rates: Rates
    postprocessor: Postprocessor
    moderation: ModerationPolicy
    progress_bus: ProgressBus
    settings: QueueSettings
    prompt_resolver: PromptResolver = field(default_factory=PromptResolver)
    preparations: Sequence[Preparation] = ()
    finishes: Sequence[Finish] = ()
    chooser: RowChooser | None = None
    adapters: AdapterSource | None = None
    plugin_texts: TextChanges | None = None
    on_finished: Callable[[Job], None] = lambda _job: None
    metrics: WorkMetrics = NO_METRICS
    only_submitted: bool = False

    _only_jobs: set[str] = field(default_factory=set)
    _attempts: dict[str, Attempt] = field(default_factory=dict)
    _cancelled_while_claimed: set[str] = field(default_factory=set)
    """Jobs cancelled between their claim in the database and its arrival here."""
    _awaiting_exclusive_device: dict[str, float] = field(default_factory=dict)
    """Jobs that wait for an idle device, with the monotonic time from which they can be claimed."""
    _wakeup: asyncio.Event = field(default_factory=asyncio.Event)
    _is_closing: bool = False
    _store_deadline: float = math.inf

    def __post_init__(self) -> None:
        self._task_runner = TaskRunner(
            media=self.media,
            pool=self.pool,
            models=self.models,
            postprocessor=self.postprocessor,
            moderation=self.moderation,
            progress_bus=self.progress_bus,
            prompt_resolver=self.prompt_resolver,
            fairness_keys=FairnessKeys(),
            on_event=self.record_event,
            preparations=self.preparations,
            finishes=self.finishes,
            chooser=self.chooser,
            threads=ThreadReader(store=self.store, words=self.moderation),
            adapters=self.adapters,
            metrics=self.metrics,
            plugin_texts=self.plugin_texts,
        )

    def wake(self, job_ids: Iterable[str] = ()) -> None:
        self._only_jobs.update(job_ids)
        self._wakeup.set()

    def device_of(self, job_id: str) -> str:
        """Where the job runs; empty: it does not."""
        attempt = self._attempts.get(job_id)
        return attempt.device if attempt is not None else ""

    def interrupt_job(self, job_id: str) -> None:
        """Cancel a running job at its next step."""
        attempt = self._attempts.get(job_id)
        if attempt is None:
            self._cancelled_while_claimed.add(job_id)
        else:
            self._cancel_attempt(attempt)

    async def run_forever(self) -> None:
        """Run until `close`; return when every running job has ended or was requeued."""
        self.progress_bus.on_watched = self.pool.set_previews
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._repeat(step)) for step in (self._renew_leases, self._wait_for_pool)]
            await self._claim_forever(group)
            while self._attempts:
                self._wakeup.clear()
                await self._wakeup.wait()
            for helper in helpers:
                helper.cancel()

    async def close(self, deadline_s: float) -> None:
        """Stop claiming; running jobs finish within the deadline or are requeued."""
        self._is_closing = True
        self._store_deadline = time.monotonic() + deadline_s + FINAL_STORE_S
        self._wakeup.set()
        await self.pool.drain(deadline_s)

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._run_guarded(step)

    async def _run_guarded(self, step: Callable[[], Awaitable[T]]) -> T | None:
        """Run one round of a loop that must not end: errors are logged, and the loop continues after a wait."""
        try:
            return await step()
        except EaselError as error:
            log.warning("queue waits for storage", action="queue_waits", step=step.__name__, code=error.code)
        except Exception as error:  # the loop must not end
            log.error("queue loop failed", action="queue_stumbled", step=step.__name__, exc_info=error)
        await asyncio.sleep(STORAGE_RETRY_S)
        return None

    # ------------------------------------------------------------ claiming

    async def _claim_forever(self, group: asyncio.TaskGroup) -> None:
        async def claim_some() -> bool:
            return await self._claim_round(group)

        while not self._is_closing:
            self._wakeup.clear()
            if await self._run_guarded(claim_some) is False and not self._is_closing:
                idle_s = await self._idle_timeout_s()
                with suppress(TimeoutError):
                    async with asyncio.timeout(idle_s):  # in Python 3.11, wait_for can swallow a cancel
                        await self._wakeup.wait()

    async def _claim_round(self, group: asyncio.TaskGroup) -> bool:
        """Claim at most one job for each device; return whether any was claimed."""
        claimed = False
        for device in [offer.device for offer in self.pool.list_offers()]:
            offer = self._current_offer(device)
            if offer is None or self._is_closing:
                continue
            attempt = await self._claim_job(offer)
            if attempt is not None:
                claimed = True
                group.create_task(self._run_attempt(attempt))
        return claimed

    def _current_offer(self, device: str) -> Offer | None:
        """The device's current offer, less the jobs that were claimed for it but have not started yet."""
        attempts = [attempt for attempt in self._attempts.values() if attempt.device == device]
        starting = [attempt.job.model for attempt in attempts if attempt.is_starting]
        for offer in self.pool.list_offers({device: starting}):
            if offer.device == device:
                is_reserved = any(needs_exclusive_device(attempt.job) for attempt in attempts) or (
                    self._awaiting_exclusive_device and not offer.is_idle
                )
                return None if is_reserved else offer
        return None

    async def _claim_job(self, offer: Offer) -> Attempt | None:
        if self.only_submitted and not self._only_jobs:
            return None
        self._cancelled_while_claimed.clear()
        started_at = time.monotonic()
        job = await self.store.claim_job(
            offer,
            max_running=self.settings.max_running,
            lease_s=self.settings.lease_s,
            swap_wait_s=self.settings.swap_wait_s,
            only=frozenset(self._only_jobs) if self.only_submitted else None,
        )
        if offer.is_idle and (job is None or not needs_exclusive_device(job)):
            # Exclusive jobs go first to an idle device, so the due ones were cancelled or cannot run yet.
            self._awaiting_exclusive_device = {
                one: due for one, due in self._awaiting_exclusive_device.items() if due > started_at
            }
        if job is None:
            return None
        self._awaiting_exclusive_device.pop(job.id, None)
        cancelled = job.cancel_requested or job.id in self._cancelled_while_claimed
        attempt = self._attempts[job.id] = Attempt(job, offer.device, cancelled)
        self.progress_bus.publish_change(job.id)
        return attempt

    async def _idle_timeout_s(self) -> float:
        with suppress(EaselError):
            due = await self.store.next_due_s()
            return IDLE_CHECK_S if due is None else min(IDLE_CHECK_S, max(0.05, due))
        return STORAGE_RETRY_S

    async def _wait_for_pool(self) -> None:
        await self.pool.wait_for_change()
        self._wakeup.set()

    async def _renew_leases(self) -> None:
        await asyncio.sleep(self.settings.lease_s / 4)
        leases = {attempt.job.id: attempt.job.attempt for attempt in self._attempts.values()}
        renewed = await self.store.renew_leases(leases, self.settings.lease_s)
        for job_id in renewed.cancel_requested | renewed.lost:
            attempt = self._attempts.get(job_id)
            if attempt is not None and attempt.job.attempt == leases[job_id]:
                self._cancel_attempt(attempt)
        if expired := await self.store.requeue_expired(max_interruptions=self.settings.max_interruptions):
            self.metrics.count_requeued("lease", expired)
            self._wakeup.set()

    def _cancel_attempt(self, attempt: Attempt) -> None:
        attempt.is_cancelled = True
        self.pool.cancel_task(attempt.task_id or attempt.job.id)

    # ------------------------------------------------------------ one job

    async def _run_attempt(self, attempt: Attempt) -> None:
        job = attempt.job
        ended = None
        with structlog.contextvars.bound_contextvars(job_id=job.id):
            try:
                ended = await self._complete_attempt(attempt)
            except Exception as error:  # the loop must not end; the lease will expire
                log.error("outcome not stored", action="record_failed", exc_info=error)
            finally:
                if self._attempts.get(job.id) is attempt:
                    del self._attempts[job.id]
                self._wakeup.set()
        self.progress_bus.publish_change(job.id)
        if ended is not None and ended.state.is_final:
            self._only_jobs.discard(job.id)
            self.on_finished(ended)

    async def _complete_attempt(self, attempt: Attempt) -> Job | None:
        """Run the attempt; return the job afterwards, None if the claim was lost."""
        job = attempt.job
        try:
            task = await self._task_runner.build_task(job, self._retry_until_stored)
            output = self.moderation.apply_rules(await self._task_runner.run_task(attempt, task), task.rules)
            alts = await self.postprocessor.alt_texts(
                job, output, fairness_key=task.fairness_key, may_wait=not self._is_closing
            )
            result = await self._retry_until_stored(
                lambda: self.postprocessor.store_result(job, output, alts, device=attempt.device)
            )
            ended = await self._retry_until_stored(lambda: self.store.save_result(job.id, job.attempt, result))
        except Exception as error:  # the job has to leave `running` in any case
            return await self._retry_until_stored(self._outcome(attempt, error))
        log.info("job ended", action="job_ended", state=str(ended.state) if ended else "lost", seconds=output.seconds)
        return ended

    async def record_event(self, event: Measurement | ModelCapabilities) -> None:
        """Apply measurements and capabilities immediately; storing them is best effort."""
        try:
            match event:
                case Measurement():
                    self.rates.add_measurement(event)
                    await self.measurements.record_measurement(event)
                case ModelCapabilities():
                    self.moderation.on_model_loaded(event)
                    self.models.set_capabilities(event.model, event.capabilities)
                    await self.measurements.record_capabilities(event.model, event.capabilities)
        except EaselError as error:
            log.warning("measurement not stored", action="learn_failed", code=error.code)

    # ------------------------------------------------------------ outcomes

    def _outcome(self, attempt: Attempt, error: Exception) -> Callable[[], Awaitable[Job | None]]:
        """Requeue where a retry makes sense, else end the job with a sentence and an incident id.

        Decided and logged once; the returned function can be called until the storage accepts it.
        """
        job, used_s = attempt.job, attempt.used_s
        match error:
            case JobCancelled() if attempt.is_cancelled:
                return lambda: self.store.end_job(job.id, job.attempt, JobState.CANCELLED, None, used_s=used_s)
            case Interrupted() | JobCancelled() | StorageBusy() | StorageFull():
                if job.interruptions < self.settings.max_interruptions:
                    exclusive = needs_exclusive_device(job)
                    return lambda: self._requeue(job, "interrupted", interrupted=True, exclusive=exclusive)
                error = InterruptedTooOften()
            case WorkerLost() if error.plugin:  # it was disabled, so this ends
                log.warning("worker lost to a plugin", action="worker_lost", plugin=error.plugin, detail=error.detail)
                self._task_runner.plugin_losses.add(job.id, error)
                exclusive = needs_exclusive_device(job)
                return lambda: self._requeue(job, "plugin", faultless=True, exclusive=exclusive)
            case WorkerLost() if not (error.was_alone and job.crashes + 1 >= self.settings.max_crashes):
                log.warning("worker lost", action="worker_lost", alone=error.was_alone, detail=error.detail)
                retry = partial(self._requeue, job, error.code, crashed=error.was_alone)
                return lambda: retry(delay_s=CRASH_DELAY_S, exclusive=True, used_s=used_s)
            case OutOfMemory() if job.failures < error.retries:
                log.warning("out of memory", action="out_of_memory", detail=error.detail)
                retry = partial(self._requeue, job, error.code)
                return lambda: retry(delay_s=CRASH_DELAY_S, exclusive=True, used_s=used_s)
        state = JobState.DEAD if isinstance(error, WorkerLost) else JobState.FAILED
        reason = self._to_job_error(job, error)
        return lambda: self.store.end_job(job.id, job.attempt, state, reason, used_s=used_s)

    async def _requeue(
        self,
        job: Job,
        reason: str,
        *,
        crashed: bool = False,
        interrupted: bool = False,
        faultless: bool = False,
        delay_s: float = 0.0,
        exclusive: bool,
        used_s: float = 0.0,
    ) -> Job | None:
        queued = await self.store.requeue_job(
            job.id,
            job.attempt,
            crashed=crashed,
            interrupted=interrupted,
            faultless=faultless,
            delay_s=delay_s,
            exclusive=exclusive,
            used_s=used_s,
        )
        if queued is None or queued.state is not JobState.QUEUED:
            return queued
        self.metrics.count_requeued(reason)
        if exclusive:
            self._awaiting_exclusive_device[job.id] = time.monotonic() + delay_s
        return queued

    def _to_job_error(self, job: Job, error: Exception) -> JobError:
        if isinstance(error, UserError):
            log.info("job refused by the engine", action="job_refused", code=error.code)
            return JobError(code=error.code, message=error_texts.explain(error, locale=job.origin.locale))
        incident = secrets.token_hex(4)
        log.error("job failed", action="job_failed", incident=incident, error=str(error), exc_info=error)
        code = error.code if isinstance(error, EaselError) else "internal"
        message = error_texts.explain(error, locale=job.origin.locale, incident=incident)
        return JobError(code=code, message=message, incident=incident)

    async def _retry_until_stored(self, write: Callable[[], Awaitable[T]]) -> T:
        """Retry while the database is busy or the disk is full; the result stays in memory meanwhile."""
        while True:
            try:
                return await write()
            except (StorageBusy, StorageFull) as error:
                if time.monotonic() > self._store_deadline:
                    raise
                log.error("storing the outcome is delayed", action="record_waits", code=error.code)
            await asyncio.sleep(STORAGE_RETRY_S)
