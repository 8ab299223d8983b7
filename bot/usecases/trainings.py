"""Trainings of adapters on this machine: one at a time, resumed after a restart, and people's jobs come first.

An adapter that passes its test is switched on; one that fails is kept with its report card, and nothing changes.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from bot import error_texts
from bot.errors import EaselError, NotFound, TrainingRefused
from bot.memory.fit import MachineSpec, format_gib
from bot.models import ModelRegistry, ModelSpec
from bot.ports import (
    AdapterRecord,
    AdapterStore,
    Pool,
    Trainer,
    TrainingProgress,
    TrainingReport,
    TrainingRequest,
)
from bot.usecases.model_optimizing import is_busy, trial_device
from bot.usecases.training_folders import EXAMPLES, default_name, prepare_order, require_name
from bot.usecases.training_models import choose_model
from bot.usecases.training_orders import Training, TrainingOrder, make_record, report_body
from bot.usecases.training_samples import ScoreSamples
from bot.usecases.training_views import explain_rejection
from bot.usecases.training_work import TrainingWork

log = structlog.get_logger(__name__)

TRAINING_MB = {"vision": 700, "image": 1500}
"""Memory that training needs beside the model's weights in float32, MiB."""
RESUMABLE = frozenset(
    {"disk_full", "disk_small", "memory", "no_memory", "no_folder", "not_saved", "unwritable", "ended"}
)
"""Problems after which a training of the same name goes on from its last checkpoint."""
YIELD_S = 5.0
"""How long people's jobs run on an accelerator before a training gives its memory back."""
POLL_S = 0.5


async def _is_not_taken(_name: str) -> bool:
    return False


@dataclass(kw_only=True)
class Trainings:
    """Attributes:
    copy_examples: of the owner and of corrections into a folder; `list_allowed`: corrections that may be used.
    caption_images: captions by file name for images of a folder that have none, by the vision model.
    score_samples: the report with how well its samples match their prompts, which it reads by their names.
    switch_on: makes a model use an adapter for requests that name none.
    is_taken: whether something other than an adapter has a name: a model, or an add-on for prompts.
    """

    models: ModelRegistry
    trainer: Trainer
    adapters: AdapterStore
    pool: Pool
    work: TrainingWork
    machine_spec: Callable[[], Awaitable[MachineSpec]]
    copy_examples: Callable[[Path, Training], Awaitable[Mapping[str, str]]]
    list_allowed: Callable[[], Awaitable[Collection[str]]]
    caption_images: Callable[[Path, str, ModelSpec, Callable[[int, int], None]], Awaitable[Mapping[str, str]]]
    switch_on: Callable[[str, str], Awaitable[None]]
    is_taken: Callable[[str], Awaitable[bool]] = _is_not_taken
    score_samples: ScoreSamples | None = None
    threads: int = 0

    _trainings: dict[str, Training] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)

    # ------------------------------------------------------------ what people ask for

    async def start(self, order: TrainingOrder) -> Training:
        """Train in the background; one that was interrupted under the same name goes on.

        Raises: InvalidOption, ModelRefused, TrainingRefused.
        """
        model = choose_model(self.models, order)
        name = order.name or default_name(order)
        require_name(name)
        order = await asyncio.to_thread(prepare_order, order)
        await asyncio.to_thread(self.work.refuse_stored, order)
        async with self._starting:  # two of one name at once
            await self._require_free(name, may_replace=order.replace)
            training = Training(name=name, order=order, model=model, started_at=datetime.now(UTC))
            await asyncio.to_thread(self.work.save_order, name, order)
            self._start(training)
        return training

    def list_trainings(self) -> list[Training]:
        """Since the server started, the newest first."""
        return sorted(self._trainings.values(), key=lambda one: one.started_at, reverse=True)

    def find(self, name: str) -> Training:
        """Raises: NotFound."""
        if name not in self._trainings:
            raise NotFound("training", name)
        return self._trainings[name]

    async def read_sample(self, name: str, number: int) -> bytes:
        """A sample of an image adapter's report card, a PNG; `number` from 1. Raises: NotFound."""
        found = next((one for one in await self.adapters.list_adapters() if one.name == name), None)
        samples = list(found.report.get("samples", ())) if found is not None else []
        if not 1 <= number <= len(samples):
            raise NotFound("picture", name)
        return await asyncio.to_thread(self.work.read_sample, name, str(samples[number - 1]))

    async def wait_for_change(self, training: Training) -> None:
        """Return when it has changed since the last call."""
        await training.changed.wait()
        training.changed.clear()

    async def cancel(self, name: str) -> Training:
        """Stop it and delete what it has made so far, also of one that could go on. Raises: NotFound, TrainingRefused:
        it is over."""
        training = self._trainings.get(name) or await self._find_interrupted(name)
        if not training.is_finished:
            await self._stop(training)
        if training.is_finished and not await asyncio.to_thread(self.work.has, name):
            raise TrainingRefused("over", name=name)
        await asyncio.to_thread(self.work.delete, name)
        self._finish(training, error=error_texts.explain(TrainingRefused("stopped", name=name)))
        return training

    async def _find_interrupted(self, name: str) -> Training:
        """One of an earlier process, which a server would resume. Raises: NotFound, TrainingRefused."""
        order = dict(await asyncio.to_thread(self.work.list_orders)).get(name)
        if order is None:
            raise NotFound("training", name)
        model = choose_model(self.models, order)
        return Training(name=name, order=order, model=model, started_at=datetime.now(UTC))

    async def forget_examples(self, corrections: Collection[str]) -> list[AdapterRecord]:
        """Withdrawn corrections: trainings that have them start anew without them, adapters that learned from them are
        retired. Returns these adapters."""
        gone = frozenset(corrections)
        for training in [
            one for one in self._trainings.values() if not one.is_finished and one.used_corrections & gone
        ]:
            await self._stop(training)
            if training.is_finished:  # it was at its end: its adapter is retired
                continue
            await asyncio.to_thread(self.work.delete, training.name)
            await asyncio.to_thread(self.work.save_order, training.name, training.order)
            self._start(self._anew(training))
        running = {one.name for one in self._trainings.values() if one.used_corrections and not one.is_finished}
        await asyncio.to_thread(self.work.delete_with, gone, running)
        for one in self._trainings.values():
            if one.report is not None and one.used_corrections & gone:
                one.report = replace(one.report, examples=())
        retired = await self.adapters.retire_adapters(gone)
        for adapter in retired:
            await asyncio.to_thread(self.work.drop_words, adapter.name)
            log.info("adapter retired", action="adapter_retired", adapter=adapter.name, model=adapter.model)
        return retired

    def _anew(self, training: Training) -> Training:
        """Followers of the old one see it."""
        return Training(
            name=training.name,
            order=training.order,
            model=training.model,
            started_at=training.started_at,
            changed=training.changed,
        )

    # ------------------------------------------------------------ start and end of the server

    async def resume_trainings(self) -> None:
        """Go on with the trainings that a restart interrupted. What others have left is deleted after a while."""
        await asyncio.to_thread(self.work.delete_abandoned)
        for name, order in await asyncio.to_thread(self.work.list_orders):
            if name in self._trainings:
                continue
            try:
                model = choose_model(self.models, order)
            except EaselError as error:
                reason = error_texts.explain(error)
                log.warning("training not resumed", action="training_refused", adapter=name, reason=reason)
                self.work.drop_order(name)
                continue
            self._start(Training(name=name, order=order, model=model, started_at=datetime.now(UTC)))

    async def close(self) -> None:
        """Stop all; they resume at the next start."""
        for training in self._trainings.values():
            if not training.is_finished:
                await self._stop(training)

    # ------------------------------------------------------------ checks

    async def _require_free(self, name: str, *, may_replace: bool) -> None:
        """Raises: TrainingRefused: a training of that name runs, or an adapter has the name."""
        running = self._trainings.get(name)
        if running is not None and not running.is_finished:
            raise TrainingRefused("running", name=name)
        if not may_replace and await self._works(name):
            raise TrainingRefused("taken", name=name)
        if await self.is_taken(name):
            raise TrainingRefused("name_taken", name=name)

    async def _works(self, name: str) -> bool:
        """Whether there is an adapter of this name that passed its test."""
        known = await self.adapters.list_adapters()
        return any(one.name == name and one.state == "accepted" for one in known)

    async def _require_memory(self, training: Training, device: str) -> None:
        """Unload idle models if that is needed to make room. Raises: TrainingRefused."""
        need_mb = 2 * training.model.memory_mb + TRAINING_MB[training.order.kind]
        if device == "cpu" and (await self.machine_spec()).free_ram_mb >= need_mb:
            return
        await self.pool.unload_idle_models()
        free_mb = (await self.machine_spec()).free_ram_mb
        if device == "cpu" and free_mb < need_mb:
            raise TrainingRefused("memory", needed=format_gib(need_mb), free=format_gib(free_mb))

    # ------------------------------------------------------------ one training

    def _start(self, training: Training) -> None:
        self._trainings[training.name] = training
        training.task = asyncio.create_task(self._run(training), name=f"training of {training.name}")

    async def _run(self, training: Training) -> None:
        """The outermost frame of a background task: an error ends the training with a sentence."""
        try:
            if self._turn.locked():
                self._report(training, TrainingProgress(stage="queued"))
            async with self._turn:
                await self._train(training)
        except EaselError as error:
            if not (isinstance(error, TrainingRefused) and error.problem in RESUMABLE):
                await asyncio.to_thread(self.work.delete, training.name)
            self._finish(training, error=error_texts.explain(error))
        except Exception as error:
            incident = secrets.token_hex(4)
            log.error(
                "training failed", action="training_failed", adapter=training.name, incident=incident, exc_info=error
            )
            self._finish(training, error=error_texts.explain(error, incident=incident))

    async def _train(self, training: Training) -> None:
        """Raises: TrainingRefused."""
        device = trial_device(self.pool)
        await self._require_memory(training, device)
        request = await self._make_request(training, device)
        report = None
        while report is None:
            report = await self._run_trainer(training, request)
        await self._keep(training, report)

    async def _make_request(self, training: Training, device: str) -> TrainingRequest:
        order, work = training.order, self.work.folder(training.name)
        folder = Path(order.folder)
        corrections: Mapping[str, str] = {}
        if order.corrections:
            folder = work / EXAMPLES
            corrections = await self.copy_examples(folder, training)
        captions: Mapping[str, str] = {}
        if order.kind == "image":
            on_progress = self._reporter(training, "captioning")
            captions = await self.caption_images(folder, order.words, training.model, on_progress)
        return TrainingRequest(
            kind=order.kind,
            model=training.model,
            name=training.name,
            folder=str(folder),
            work=str(work),
            output=str(self.work.output(training.name)),
            replay=order.replay,
            steps=order.steps,
            seed=order.seed,
            words=order.words,
            captions=captions,
            corrections=corrections,
            device=device,
            threads=self.threads,
        )

    def _reporter(self, training: Training, stage: str) -> Callable[[int, int], None]:
        return lambda done, total: self._report(training, TrainingProgress(stage=stage, done=done, total=total))

    async def _run_trainer(self, training: Training, request: TrainingRequest) -> TrainingReport | None:
        """None: people need the device's memory, and the training goes on from its checkpoint once they do not."""
        if request.device == "cpu":
            return await self._follow_trainer(training, request)
        while is_busy(self.pool):
            self._report(training, replace(training.progress, stage="waiting"))
            await asyncio.sleep(POLL_S)
        following = asyncio.create_task(self._follow_trainer(training, request))
        waiting = asyncio.create_task(self._wait_until_needed())
        try:
            await asyncio.wait({following, waiting}, return_when=asyncio.FIRST_COMPLETED)
            return await following if following.done() else None
        finally:
            for task in (following, waiting):
                task.cancel()
            await asyncio.gather(following, waiting, return_exceptions=True)

    async def _follow_trainer(self, training: Training, request: TrainingRequest) -> TrainingReport:
        async with aclosing(self.trainer.train(request, is_paused=lambda: is_busy(self.pool))) as events:
            async for event in events:
                if isinstance(event, TrainingReport):
                    return event
                self._report(training, event)
        raise TrainingRefused("ended", name=training.name)

    async def _wait_until_needed(self) -> None:
        """Return once people's jobs have run for `YIELD_S`: they need the training's memory."""
        busy_since: float | None = None
        while busy_since is None or time.monotonic() - busy_since < YIELD_S:
            await asyncio.sleep(POLL_S)
            busy_since = (busy_since or time.monotonic()) if is_busy(self.pool) else None

    async def _keep(self, training: Training, report: TrainingReport) -> None:
        """Record the adapter, and switch it on if it passed its test. Files and records belong together, so that is
        not interrupted."""
        used = [one.correction for one in report.trained if one.correction is not None]
        if used and not set(used) <= set(await self.list_allowed()):
            raise TrainingRefused("withdrawn", name=training.name)
        if self.score_samples is not None:
            folder = self.work.output(training.name)
            report = await self.score_samples(training.model, report, lambda name: (folder / name).read_bytes())
        saving = asyncio.create_task(self._save(training, report))
        try:
            await asyncio.shield(saving)
        except asyncio.CancelledError:
            await asyncio.gather(saving, return_exceptions=True)
            raise

    async def _save(self, training: Training, report: TrainingReport) -> None:
        """Raises: TrainingRefused: it failed its test, and the adapter that it would replace did not, or it cannot be
        switched on."""
        training.report = report
        if not report.is_accepted and await self._works(training.name):
            reason = explain_rejection(report_body(report))
            raise TrainingRefused("not_replaced", name=training.name, reason=reason)
        await asyncio.to_thread(self.work.keep_output, training.name)
        try:
            await self.adapters.save_adapter(make_record(training, report), report.trained)
        except EaselError as error:
            await asyncio.to_thread(self.work.take_back, training.name)
            raise TrainingRefused("not_saved", reason=error_texts.explain(error)) from error
        if report.is_accepted and training.order.kind == "vision":
            await self._switch_on(training)
        await asyncio.to_thread(self.work.delete, training.name)
        log.info("adapter trained", action="adapter_trained", adapter=training.name, model=training.model.name,
                 accepted=report.is_accepted)  # fmt: skip
        self._finish(training)

    async def _switch_on(self, training: Training) -> None:
        """Raises: TrainingRefused: its model was removed meanwhile, or the owner's file cannot be written."""
        try:
            await self.switch_on(training.model.name, training.name)
        except EaselError as error:
            reason = error_texts.explain(error)
            raise TrainingRefused("not_switched_on", name=training.name, reason=reason) from error
        training.is_switched_on = True

    # ------------------------------------------------------------ its state

    def _report(self, training: Training, progress: TrainingProgress) -> None:
        training.progress = progress
        if progress.stage == "training" and progress.loss is not None:
            while training.losses and training.losses[-1][0] >= progress.done:  # it resumed from a checkpoint
                training.losses.pop()
            training.losses.append((progress.done, progress.loss))
        training.changed.set()

    def _finish(self, training: Training, *, error: str = "") -> None:
        training.error, training.is_finished = error, True
        if error:
            log.warning("adapter not trained", action="training_refused", adapter=training.name, reason=error)
            self.work.drop_order(training.name)
        training.changed.set()

    async def _stop(self, training: Training) -> None:
        if training.task is not None:
            training.task.cancel()
            await asyncio.gather(training.task, return_exceptions=True)
