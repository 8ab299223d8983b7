"""Keeps one device's child alive, and knows what it runs.

The child may die at any moment for any reason; then every task it had ends with an error that says
whether the task was alone in it, and the next child starts after a wait that grows with each crash.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import structlog

from bot.errors import EaselError, EngineTimeout, Interrupted, JobCancelled, ModelUnavailable, WorkerLost
from bot.models import ModelSpec, rows_of
from bot.ports import Described, DeviceStatus, Freed, Measured, Offer, Progress, Task
from inference.ipc import messages
from inference.ipc.process import ChildProcess
from inference.pool.capacity import Room
from inference.pool.idle_unload import Idleness
from inference.pool.watchdog import Hung, Running, TimeUp, Watchdog, last_step
from inference.settings import PoolSettings

_log = structlog.get_logger("inference")
_STEADY_S = 60.0
"""A child that lived this long was fine: the back-off starts anew."""
_GOODBYE_S = 2.0


class Device:
    """One device and its child process. `changed` is called whenever its offer may have changed."""

    def __init__(
        self,
        name: str,
        settings: PoolSettings,
        models: Sequence[ModelSpec],
        engines: str,
        changed: Callable[[], None],
        *,
        classifier: ModelSpec | None = None,
        checker: str = "",
        rates: Iterable[Measured] = (),
    ) -> None:
        self.name = name
        self._settings = settings
        self._models = tuple(models)
        self._engines = engines
        self._classifier = classifier
        self._checker = checker
        self._changed = changed
        self._child: ChildProcess | None = None
        self._watchdog = Watchdog(settings, time.monotonic())
        self._running: dict[str, Running] = {}
        self._owed: list[Described | Measured] = []
        self._warm: tuple[str, ...] = ()
        self._rows: dict[str, int] = {}
        self._rates: dict[Measured, Measured] = {}
        for rate in rates:
            self._learn(rate)
        self._loaded_at = -math.inf
        self._memory_mb = 0
        self._restarts = 0
        self._state = "starting"
        self._is_stopping = False
        self._may_warm_up = settings.warm_up
        self._did_well = False
        self._idleness = Idleness(settings.idle_unload_s)

    # ------------------------------------------------------------ what others ask

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def offer(self, promised: Iterable[str] = ()) -> Offer | None:
        """What it would take beside what it runs and was promised; None: nothing."""
        room = self._room().with_promised(promised)
        names = frozenset(model.name for model in self._models if room.of(model))
        if self._state != "ready" or not names:
            return None
        later = frozenset(model.name for model in self._models if not room.may_load(model))
        return Offer(
            device=self.name,
            models=names,
            warm=names & room.warm,
            full=frozenset(room.models) - names - later,
            later=later,
            free=room.free,
            idle=not room.tasks.total(),
            settled_s=time.monotonic() - self._loaded_at,
        )

    def has_room_for(self, task: Task) -> bool:
        room = self._room()
        is_idle = not room.tasks.total()
        return self._state == "ready" and room.of(task.model) > 0 and (is_idle or not task.alone)

    @property
    def load(self) -> int:
        """How many tasks it has."""
        return len(self._running)

    def has_warm(self, model: str) -> bool:
        return model in self._warm

    def _room(self) -> Room:
        running = [running.task for running in self._running.values()]
        return Room(
            settings=self._settings,
            models={model.name: model for model in (*(task.model for task in running), *self._models)},
            tasks=Counter(task.model.name for task in running),
            warm=frozenset(self._warm),
            rows=self._rows,
            is_closed=any(task.alone for task in running),
        )

    def status(self) -> DeviceStatus:
        return DeviceStatus(
            device=self.name,
            state=self._state,
            warm=self._warm,
            running=len(self._running),
            restarts=self._restarts,
            memory_mb=self._memory_mb,
            places=self._settings.max_tasks,
        )

    def run(self, task: Task) -> Running:
        """Give the task to the child; only after an `offer`."""
        assert self._child is not None
        running = Running(task)
        self._running[task.id] = running
        for owed in self._owed:
            running.tell(owed)
        self._owed.clear()
        if task.model.name not in self._warm:
            running.tell(Progress(step=0, steps=_steps(task), note="loading"))
        self._child.post(messages.Run(task))
        self._changed()
        return running

    def cancel(self, task_id: str, reason: EaselError | None = None) -> None:
        """Stop a task at its next step. With a `reason`, or before it began, whoever runs it hears it at once."""
        running = self._running.get(task_id)
        if running is None:
            return
        if self._child is not None:
            self._child.post(messages.Cancel(task_id))
        if reason is not None or running.started_at is None:
            running.tell(reason or JobCancelled())

    def know(self, models: Sequence[ModelSpec]) -> None:
        """Offer these from now on."""
        self._models = tuple(models)

    async def release(self) -> Freed:
        """Give back the memory of every model that nothing runs on."""
        if self._child is None or self._state != "ready":
            return Freed()
        return await self._idleness.release(self._child.post)

    def watch(self, task_id: str, watched: bool) -> None:
        if task_id in self._running and self._child is not None:
            self._child.post(messages.Watch(task_id, watched))

    # ------------------------------------------------------------ the child's lives

    async def serve(self) -> None:
        """Start the child and start it again whenever it dies. Cancel to end it."""
        backoff_s = self._settings.restart_backoff_s
        try:
            while True:
                born = time.monotonic()
                self._lose(await self._live())
                if self._did_well or time.monotonic() - born > _STEADY_S:
                    backoff_s = self._settings.restart_backoff_s
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, self._settings.restart_backoff_max_s)
        finally:
            self._is_stopping = True
            self._state = "stopped"
            self._lose(Hung("the pool closed"))

    async def _live(self) -> Hung:
        """One child from its birth to its death; returns why it died."""
        self._did_well = False
        self._watchdog = Watchdog(self._settings, time.monotonic())
        threads, niceness = self._settings.threads, str(self._settings.niceness)
        try:
            child = await ChildProcess.start(self.name, "inference.worker", niceness, threads=threads)
        except OSError as error:
            return Hung(f"the child did not start: {error}")
        self._child = child
        child.post(self._begin())
        try:
            hung = await self._attend(child)
        except Exception as error:  # our own mistake must not end the device for ever
            _log.exception("Attending a child failed", action="child_attend", device=self.name)
            hung = Hung(f"attending it failed: {error!r}")
        finally:
            self._child = None
            status = await child.close(_GOODBYE_S if self._is_stopping else 0.0)
        detail = f"exit status {status}" if hung is None else hung.reason
        words = f"{detail}\n{child.last_words}".strip()
        return Hung(words, stuck_load=hung.stuck_load if hung else "")

    def _begin(self) -> messages.Begin:
        return messages.Begin(
            device=self.name,
            engines=self._engines,
            classifier=self._classifier,
            checker=self._checker,
            threads=self._settings.threads,
            max_warm=self._settings.max_warm,
            warm_memory_mb=self._settings.warm_memory_mb,
            silence_s=self._settings.silence_s,
            rates=tuple(self._rates.values()),
        )

    def _learn(self, measured: Measured) -> None:
        """The next child starts with what this one found last."""
        if measured.device == self.name:
            self._rates[replace(measured, seconds=0.0)] = measured

    async def _attend(self, child: ChildProcess) -> Hung | None:
        """Listen and watch until the child ended (None) or must be killed."""
        watching = asyncio.create_task(self._watch(child))
        listening = asyncio.create_task(self._listen(child))
        try:
            await asyncio.wait({watching, listening}, return_when=asyncio.FIRST_COMPLETED)
            return watching.result() if watching.done() else listening.result()
        except asyncio.CancelledError:
            self._is_stopping = True
            child.post(messages.Shutdown())
            raise
        finally:
            for task in (watching, listening):
                task.cancel()
            await asyncio.gather(watching, listening, return_exceptions=True)

    async def _watch(self, child: ChildProcess) -> Hung:
        while True:
            await asyncio.sleep(self._watchdog.tick_s)
            in_use = {running.task.model.name for running in self._running.values()}
            if stale := self._idleness.stale(self._warm, in_use, time.monotonic()):
                child.post(messages.Release(models=stale))
            match self._watchdog.check(time.monotonic(), list(self._running.values())):
                case Hung() as hung:
                    return hung
                case TimeUp(running):
                    running.must_end_by = time.monotonic() + self._settings.cancel_grace_s
                    child.post(messages.Cancel(running.task.id))
                case None:
                    pass

    def _lose(self, hung: Hung) -> None:
        """The child is gone: end its tasks, prepare the next life."""
        is_alone = len(self._running) == 1
        for running in self._running.values():
            running.tell(self._loss(running, hung, is_alone))
        was_loading = self._watchdog.loading
        self._running.clear()
        self._idleness.released(Freed())
        self._warm, self._memory_mb = (), 0
        self._rows.clear()
        if not self._is_stopping:
            self._state = "restarting"
            self._restarts += 1
            self._may_warm_up = self._settings.warm_up and not was_loading
            _log.error(
                "The child process ended",
                action="child_lost",
                device=self.name,
                reason=hung.reason,
                loading=was_loading,
            )
        self._changed()

    def _loss(self, running: Running, hung: Hung, is_alone: bool) -> EaselError:
        if self._is_stopping:
            return Interrupted()
        if running.must_end_by is not None:
            return EngineTimeout(self._settings.job_timeout_s, hung.reason)
        if hung.stuck_load == running.task.model.name:
            return ModelUnavailable(hung.stuck_load, hung.reason)
        return WorkerLost(alone=is_alone and running.is_received, detail=hung.reason)

    # ------------------------------------------------------------ what the child says

    async def _listen(self, child: ChildProcess) -> Hung | None:
        while True:
            try:
                message = await child.receive()
            except messages.BadFrame as error:
                return Hung(f"the child sent noise: {error}")
            if message is None:
                return None
            self._watchdog.heard(time.monotonic())
            self._hear(child, message)

    def _hear(self, child: ChildProcess, message: object) -> None:
        now = time.monotonic()
        match message:
            case messages.Beat(memory_mb):
                self._memory_mb = memory_mb
            case messages.Told(task_id=task_id, event=event, used_s=used_s):
                if running := self._running.get(task_id):
                    if isinstance(event, Measured):
                        self._learn(event)
                    others = last_step(self._running.values())
                    running.report(now, used_s, stepped=not isinstance(event, Measured), others_stepped_at=others)
                    running.tell(event)
            case messages.Ended(task_id=task_id, outcome=outcome, used_s=used_s):
                if running := self._running.pop(task_id, None):
                    running.report(now, used_s, stepped=False)
                    running.tell(self._end(running, outcome))
                    self._changed()
            case messages.Received(task_id) if task_id in self._running:
                self._running[task_id].is_received = True
            case messages.Started(task_id) if task_id in self._running:
                self._running[task_id].start(now)
            case messages.Loading(model):
                self._watchdog.load_began(model, now)
            case messages.Loaded():
                self._loaded(message)
            case messages.Released():
                self._released(message)
            case messages.Worn():
                self._state = "restarting"
                _log.warning("Memory ran out: the child process starts anew", action="child_worn", device=self.name)
                self._changed()
            case messages.Ready():
                self._ready(child)

    def _ready(self, child: ChildProcess) -> None:
        self._state = "ready"
        self._watchdog.is_up()
        _log.info("The child process is ready", action="child_ready", device=self.name, pid=child.pid)
        if self._may_warm_up and self._models:
            child.post(messages.Load(self._models[0]))
        self._changed()

    def _loaded(self, message: messages.Loaded) -> None:
        now = time.monotonic()
        self._watchdog.load_ended(now, self._running.values())
        self._warm = message.warm
        if message.described is not None:
            self._loaded_at = now
            self._rows[message.model] = rows_of(message.described.form)
        owed = [event for event in (message.described, message.measured) if event is not None]
        waiting = [r for r in self._running.values() if r.task.model.name == message.model]
        if waiting:
            for event in owed:
                waiting[0].tell(event)
        else:
            self._owed.extend(owed)
        if message.failure is not None:
            _log.warning(
                "A model could not be loaded",
                action="load_failed",
                device=self.name,
                model=message.model,
                problem=str(messages.unpack_error(message.failure)),
            )
        self._changed()

    def _released(self, message: messages.Released) -> None:
        self._warm = message.warm
        self._idleness.released(Freed(models=message.models, busy=message.warm, freed_mb=message.freed_mb))
        self._changed()

    def _end(self, running: Running, outcome: object) -> messages.Finished | EaselError:
        self._did_well = True
        match outcome:
            case messages.Finished():
                return outcome
            case messages.Failure():
                return messages.unpack_error(outcome)
        if running.must_end_by is not None:
            return EngineTimeout(self._settings.job_timeout_s)
        return JobCancelled()


def plain(task: Task) -> Task:
    """The task with ordinary dicts, which is all that the protocol lets through."""
    return replace(task, options=dict(task.options), model=plain_model(task.model))


def plain_model(model: ModelSpec) -> ModelSpec:
    return replace(model, form=dict(model.form))


def _steps(task: Task) -> int:
    """How many steps it will report, as far as its options tell."""
    if "steps" in task.options:
        return int(task.options["steps"]) * int(task.options.get("count", 1))
    return int(task.options.get("max_new_tokens", task.model.max_new_tokens))
