"""Keeps one device's worker process running and tracks its tasks.

The child can exit at any moment; then each of its tasks ends with an error that says whether the task ran alone, and
the next child starts after a delay that grows with each crash.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from bot.errors import EaselError, Interrupted, JobCancelled
from bot.models import ModelSpec, slots_of
from bot.ports import DeviceStatus, Measurement, ModelCapabilities, Offer, Task, UnloadResult, WorkerPlugins
from inference.ipc import messages
from inference.ipc.plugin_messages import PluginCall, PluginFailed, PluginLoaded, SetPlugins
from inference.ipc.process import ChildProcess
from inference.pool.capacity import DeviceCapacity
from inference.pool.early_worker import WORKER, EarlyWorker
from inference.pool.idle_unload import IdleTracker
from inference.pool.load_reports import DeviceMeasurements, LoadReports, load_details
from inference.pool.plugin_watch import Blamed, PluginWatch
from inference.pool.task_outcomes import error_of_loss, reported_outcome
from inference.pool.watchdog import DeviceRecord, HandleEvent, Hung, TaskHandle, TimedOut, Watchdog, latest_step_at
from inference.settings import PoolSettings

_log = structlog.get_logger("inference")
_STABLE_AFTER_S = 60.0
"""The restart delay is reset after a child has run this long."""
_SHUTDOWN_GRACE_S = 2.0


class WorkerSupervisor:
    """One device and its child process. `on_change` is called whenever its offer can have changed."""

    def __init__(
        self,
        name: str,
        settings: PoolSettings,
        models: Sequence[ModelSpec],
        engine_factory: str,
        on_change: Callable[[], None],
        *,
        classifiers: Sequence[ModelSpec] = (),
        classifier_factory: str = "",
        early: EarlyWorker | None = None,
        measurements: Iterable[Measurement] = (),
        plugins: WorkerPlugins | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self._settings = settings
        self._models = tuple(models)
        self._engine_factory = engine_factory
        self._classifiers = tuple(classifiers)
        self._classifier_factory = classifier_factory
        self._early = early
        self._on_change = on_change
        self._clock = clock
        self._sleep = sleep
        self._child: ChildProcess | None = None
        self._plugin_watch = PluginWatch(plugins, name, clock)
        self._watchdog = Watchdog(settings, clock(), self._plugin_watch)
        self._running: dict[str, TaskHandle] = {}
        self._pending_events: list[ModelCapabilities | Measurement] = []
        self._loaded_models: tuple[str, ...] = ()
        self._slots: dict[str, int] = {}
        self._measurements = DeviceMeasurements(name, measurements)
        self._load_reports = LoadReports(self._measurements)
        self._loaded_at = -math.inf
        self._memory_mb = 0
        self._record = DeviceRecord()
        self._state = "starting"
        self._is_stopping = False
        self._may_warm_up = settings.warm_up
        self._has_completed_a_task = False
        self._idle = IdleTracker(settings.idle_unload_s)

    # ------------------------------------------------------------ state and commands

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def offer(self, reserved: Iterable[str] = ()) -> Offer | None:
        """The further tasks it can run beside the running and reserved ones; None: no more."""
        capacity = self._capacity().with_reserved(reserved)
        names = {model.name for model in self._models}  # without those that were removed while they run
        return capacity.to_offer(self.name, names, self._clock() - self._loaded_at) if self._is_ready() else None

    def can_run(self, task: Task) -> bool:
        capacity = self._capacity(joined=task.beside)
        has_slot = capacity.slots_for(task.model) > 0 and not (task.is_exclusive and capacity.tasks.total())
        return self._is_ready() and (task.is_safety_check or has_slot)

    def _is_ready(self) -> bool:
        """A lost child is gone before the state says so: it takes a while until its exit status is known."""
        return self._state == "ready" and self._child is not None

    @property
    def task_count(self) -> int:
        return len(self._running)

    def has_loaded(self, model: str) -> bool:
        return model in self._loaded_models

    def _capacity(self, joined: str = "") -> DeviceCapacity:
        """`joined`: a task that others may join, even if it is exclusive."""
        tasks = [handle.task for handle in self._running.values() if not handle.task.is_safety_check]
        return DeviceCapacity(
            settings=self._settings,
            models={model.name: model for model in (*(task.model for task in tasks), *self._models)},
            tasks=Counter(task.model.name for task in tasks),
            loaded=frozenset(self._loaded_models),
            slots=self._slots,
            is_exclusive=any(task.is_exclusive and task.id != joined for task in tasks),
        )

    def status(self) -> DeviceStatus:
        loading = self._capacity().models.get(self._watchdog.loading)
        return DeviceStatus(
            device=self.name,
            state=self._state,
            loaded=self._loaded_models,
            running=len(self._running),
            work=tuple(handle.work for handle in self._running.values()),
            **vars(self._record),
            memory_mb=self._memory_mb,
            slots=self._settings.max_tasks,
            loading=self._watchdog.loading,
            load_s=self._load_reports.remaining_s(loading, self._watchdog.loading_since, self._clock()),
            has_imported=self._load_reports.has_imported,
        )

    def start_task(self, task: Task) -> TaskHandle:
        """Send the task to the child; only after `can_run`."""
        assert self._child is not None
        handle = TaskHandle(task, totals=self._record.totals)
        self._running[task.id] = handle
        if not task.is_safety_check:
            self._report_start(handle)
        self._child.send(messages.StartTask(task))
        self._on_change()
        return handle

    def _report_start(self, handle: TaskHandle) -> None:
        for event in self._pending_events:
            handle.put_event(event)
        self._pending_events.clear()
        if handle.task.model.name not in self._loaded_models:
            self._load_reports.report_start(handle, self._running.values(), self._watchdog, self._clock())

    def cancel_task(self, task_id: str, reason: EaselError | None = None) -> None:
        """Stop a task at its next step. With a `reason`, or before it started, its events end immediately."""
        handle = self._running.get(task_id)
        if handle is None:
            return
        if self._child is not None:
            self._child.send(messages.CancelTask(task_id))
        if reason is not None or handle.started_at is None:
            handle.put_event(reason or JobCancelled())

    def set_models(self, models: Sequence[ModelSpec]) -> None:
        """Offer these models from now on."""
        self._models = tuple(models)

    def refresh_plugins(self) -> None:
        """Send the child the plugins that are enabled now."""
        if self._child is not None:
            self._child.send(SetPlugins(self._plugin_watch.list_enabled()))

    async def unload_idle_models(self) -> UnloadResult:
        if self._child is None or self._state != "ready":
            return UnloadResult()
        return await self._idle.request_unload(self._child.send)

    def keep_rows(self, task_id: str, step: int, kept: Sequence[int]) -> None:
        if task_id in self._running and self._child is not None:
            self._running[task_id].end_choice(self._clock(), len(kept))
            self._child.send(messages.KeepRows(task_id, step, tuple(kept)))

    def set_previews(self, task_id: str, is_enabled: bool) -> None:
        if task_id in self._running and self._child is not None:
            self._child.send(messages.SetPreviews(task_id, is_enabled))

    # ------------------------------------------------------------ starting and monitoring the child

    async def run_forever(self) -> None:
        """Start the child, and restart it whenever it exits. Cancel to end it."""
        backoff_s = self._settings.restart_backoff_s
        try:
            while True:
                started_at = self._clock()
                self._on_exit(await self._run_once())
                if self._has_completed_a_task or self._clock() - started_at > _STABLE_AFTER_S:
                    backoff_s = self._settings.restart_backoff_s
                await self._sleep(backoff_s)
                backoff_s = min(backoff_s * 2, self._settings.restart_backoff_max_s)
        finally:
            self._is_stopping = True
            self._state = "stopped"
            self._on_exit(Hung("the pool closed"))

    async def _run_once(self) -> Hung:
        """Run one child until it exits; returns the reason."""
        self._has_completed_a_task = False
        self._watchdog = Watchdog(self._settings, self._clock(), self._plugin_watch)
        settings, early = self._settings, self._early
        try:
            child = early.take(self.name) if early is not None else None
            child = child or await ChildProcess.start(self.name, WORKER, str(settings.nice), threads=settings.threads)
        except OSError as error:
            return Hung(f"the child did not start: {error}")
        self._child = child
        child.send(self._init_message())
        try:
            hung = await self._monitor(child)
        except Exception as error:  # a bug of ours must not end the device for good
            _log.exception("Monitoring a child failed", action="child_attend", device=self.name)
            hung = Hung(f"monitoring it failed: {error!r}")
        finally:
            self._child = None
            status = await child.close(_SHUTDOWN_GRACE_S if self._is_stopping else 0.0)
        detail = f"exit status {status}" if hung is None else hung.reason
        reason = f"{detail}\n{child.crash_trace}".strip()
        return Hung(reason, stuck_model=hung.stuck_model if hung else "")

    def _init_message(self) -> messages.Init:
        return messages.Init(
            device=self.name,
            engine_factory=self._engine_factory,
            classifiers=self._classifiers,
            classifier_factory=self._classifier_factory,
            threads=self._settings.threads,
            max_loaded_models=self._settings.max_loaded_models,
            loaded_models_mb=self._settings.loaded_models_mb,
            heartbeat_timeout_s=self._settings.heartbeat_timeout_s,
            measurements=self._measurements.list_latest(),
            plugins=self._plugin_watch.list_enabled(),
        )

    async def _monitor(self, child: ChildProcess) -> Hung | None:
        """Read messages and check for hangs until the child has exited (None) or must be killed."""
        watching = asyncio.create_task(self._watch_for_hangs(child))
        reading = asyncio.create_task(self._read_messages(child))
        try:
            await asyncio.wait({watching, reading}, return_when=asyncio.FIRST_COMPLETED)
            return watching.result() if watching.done() else reading.result()
        except asyncio.CancelledError:
            self._is_stopping = True
            child.send(messages.Shutdown())
            raise
        finally:
            for task in (watching, reading):
                task.cancel()
            await asyncio.gather(watching, reading, return_exceptions=True)

    async def _watch_for_hangs(self, child: ChildProcess) -> Hung:
        while True:
            await asyncio.sleep(self._watchdog.tick_s)
            in_use = {handle.task.model.name for handle in self._running.values()}
            now = self._clock()
            self._load_reports.repeat_report(self._running.values(), self._watchdog, now)
            if idle := self._idle.idle_models(self._loaded_models, in_use, now):
                child.send(messages.UnloadModels(models=idle))
            match self._watchdog.check(now, list(self._running.values())):
                case Hung() as hung:
                    return hung
                case TimedOut(handle):
                    handle.stop_deadline = now + self._settings.cancel_grace_s
                    child.send(messages.CancelTask(handle.task.id))
                case None:
                    pass

    def _on_exit(self, hung: Hung) -> None:
        """The child has exited: end its tasks and reset the state for the next one."""
        is_alone = sum(not handle.task.beside for handle in self._running.values()) == 1
        blamed = Blamed() if self._is_stopping else self._plugin_watch.take_blamed(hung.reason)
        limit_s = self._settings.job_timeout_s
        for handle in self._running.values():
            lost = error_of_loss(handle, hung, is_alone=is_alone, blamed=blamed, job_timeout_s=limit_s)
            handle.put_event(Interrupted() if self._is_stopping else lost)
        was_loading = self._watchdog.loading
        self._watchdog.on_load_ended(self._clock(), ())
        self._running.clear()
        self._idle.on_unloaded(UnloadResult())
        self._loaded_models, self._memory_mb = (), 0
        self._load_reports.has_imported = False
        self._slots.clear()
        if not self._is_stopping:
            self._state = "restarting"
            self._record.add_loss(hung.reason, time.time())
            self._may_warm_up = self._settings.warm_up and not was_loading
            details = {"device": self.name, "reason": hung.reason, "loading": was_loading}
            _log.error("The child process ended", action="child_lost", **details)
        self._on_change()

    # ------------------------------------------------------------ the child's messages

    async def _read_messages(self, child: ChildProcess) -> Hung | None:
        while True:
            try:
                message = await child.receive()
            except messages.ProtocolError as error:
                return Hung(f"the child broke the protocol: {error}")
            if message is None:
                return None
            self._watchdog.on_message(self._clock())
            self._handle_message(child, message)

    def _handle_message(self, child: ChildProcess, message: object) -> None:
        now = self._clock()
        match message:
            case messages.Heartbeat(memory_mb):
                self._memory_mb = memory_mb
                self._record.add_heartbeat(message)
            case messages.TaskEvent(task_id=task_id, event=event, used_s=used_s) if task_id in self._running:
                self._on_task_event(self._running[task_id], event, used_s)
            case messages.TaskEnded(task_id=task_id, outcome=outcome, used_s=used_s):
                if handle := self._running.pop(task_id, None):
                    handle.record_usage(now, used_s, has_stepped=False)
                    self._has_completed_a_task = True
                    handle.put_event(reported_outcome(handle, outcome, self._settings.job_timeout_s))
                    self._on_change()
            case messages.TaskAccepted(task_id) if task_id in self._running:
                self._running[task_id].is_accepted = True
            case messages.TaskStarted(task_id) if task_id in self._running:
                self._running[task_id].mark_started(now)
                self._load_reports.report_started(self._running[task_id])
            case messages.ModelLoading(model):
                self._watchdog.on_load_started(model, now)
                self._load_reports.report_loading(self._running.values(), self._watchdog, now)
            case messages.ModelLoaded():
                self._on_model_loaded(message)
            case messages.ModelsUnloaded():
                self._on_models_unloaded(message)
            case messages.RestartRequested():
                self._state = "restarting"
                _log.warning("Memory ran out: the child process will restart", action="child_worn", device=self.name)
                self._on_change()
            case messages.Ready():
                self._on_ready(child)
            case PluginCall() | PluginLoaded() | PluginFailed():
                self._plugin_watch.handle(message)

    def _on_task_event(self, handle: TaskHandle, event: HandleEvent, used_s: float) -> None:
        if isinstance(event, Measurement):
            self._measurements.record_measurement(event)
        has_stepped = not isinstance(event, Measurement | ModelCapabilities)
        others_step_at = latest_step_at(self._running.values())
        handle.record_usage(self._clock(), used_s, has_stepped=has_stepped, others_step_at=others_step_at)
        handle.put_event(event)

    def _on_ready(self, child: ChildProcess) -> None:
        self._state = "ready"
        self._watchdog.mark_ready()
        _log.info("The child process is ready", action="child_ready", device=self.name, pid=child.pid)
        if self._may_warm_up and self._models:
            child.send(messages.LoadModel(self._models[0]))
        self._on_change()

    def _on_model_loaded(self, message: messages.ModelLoaded) -> None:
        now = self._clock()
        self._watchdog.on_load_ended(now, self._running.values())
        self._record.add_load(self._loaded_models, message)
        self._loaded_models = message.loaded_models
        for measurement in message.measurements:
            self._load_reports.record_measurement(measurement)
        if message.capabilities is not None:
            self._loaded_at = now
            self._load_reports.has_imported = True
            self._slots[message.model] = slots_of(message.capabilities.capabilities)
            details = load_details(message.capabilities)
            _log.info("A model was loaded", action="model_loaded", device=self.name, **details)
        events: list[ModelCapabilities | Measurement] = [*message.measurements]
        events += [message.capabilities] if message.capabilities else []
        waiting = [handle for handle in self._running.values() if handle.task.model.name == message.model]
        if waiting:
            for event in events:
                waiting[0].put_event(event)
        else:
            self._pending_events.extend(events)
        if message.failure is not None:
            problem = str(messages.unpack_error(message.failure))
            details = {"device": self.name, "model": message.model, "problem": problem}
            _log.warning("A model could not be loaded", action="load_failed", **details)
        self._on_change()

    def _on_models_unloaded(self, message: messages.ModelsUnloaded) -> None:
        self._loaded_models = message.loaded_models
        self._idle.on_unloaded(
            UnloadResult(models=message.models, busy=message.loaded_models, freed_mb=message.freed_mb)
        )
        self._on_change()
