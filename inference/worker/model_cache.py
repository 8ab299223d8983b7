"""The models a device keeps loaded: as many as its memory holds, the least recently used of them goes first.

When memory runs out while computing there is a ladder to go down: other models go, then the engine takes less (smaller
passes, tiled decodes, parts that come and go), and at the bottom the process is worn out and should start anew. What
was learned so stays known for the life of this process.
"""

import gc
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from bot.memory import placement
from bot.memory.fit import wanted_of
from bot.memory.placement import Plan, Room
from bot.models import ModelSpec
from bot.ports import Described, Measured
from inference.engine.base import Engine
from inference.engine.error_mapping import is_out_of_memory, load_fault
from inference.ipc import child, messages
from inference.safety.checker import Checker

OTHERS = "others"
"""The first rung: models that nothing runs on are unloaded."""
ALONE = Plan(model="", seats={})
"""Of a model of which nothing is known."""


@dataclass(frozen=True)
class _Book:
    """A loaded model. `plan`: the estimate by which it was given room."""

    spec: ModelSpec
    engine: Engine
    plan: Plan


def no_room() -> Room | None:
    """Where nothing is known of the device's memory."""
    return None


class Shelf:
    """Loads engines by model. Every load is announced before and after, so that the parent can time it.

    `room`: the memory that all models together may have; None: unknown.
    """

    def __init__(
        self,
        build: Callable[[ModelSpec], Engine],
        begin: messages.Begin,
        line: child.Line,
        checker: Checker,
        *,
        room: Callable[[], Room | None] = no_room,
    ) -> None:
        self._build = build
        self._checker = checker
        self._begin = begin
        self._line = line
        self._room = room
        self._books: OrderedDict[str, _Book] = OrderedDict()
        self._taken: Counter[str] = Counter()
        self.is_worn_out = False
        """Memory ran out and nothing could be made smaller: a new process would do better."""

    def __getitem__(self, name: str) -> Engine:
        return self._books[name].engine

    def __contains__(self, name: object) -> bool:
        return name in self._books

    def dtype(self, name: str) -> str:
        return str(self[name].form.get("dtype", ""))

    # ------------------------------------------------------------ loading

    def can_load(self, model: ModelSpec, *, busy: frozenset[str]) -> bool:
        """It is loaded, or has room once models that are not busy are gone; when nothing is busy there is no better
        time."""
        if model.name in self._books or not busy:
            return True
        kept = [book for name, book in self._books.items() if name in busy]
        return self._fits(model, kept)

    def load(self, model: ModelSpec, *, busy: frozenset[str]) -> messages.Failure | None:
        """Have the model loaded. Models that are `busy` stay. Returns why it cannot be had, or None."""
        if model.name in self._books:
            if _is_same(self._books[model.name].spec, model) or model.name in busy:
                self._books.move_to_end(model.name)
                return None
            self._drop(model.name)  # its settings are others now: another revision, for example
        self._line.send(messages.Loading(model.name))
        self._evict_for(model, busy)
        started = time.monotonic()
        try:
            engine = self._made(model, busy)
            checker = self._checker.prepare(model)
        except Exception as error:
            return self._failed(model, error)
        self._books[model.name] = _Book(model, engine, self._estimate(model, list(self._books.values())))
        for _ in range(self._taken[model.name]):
            engine.save_memory()
        self._loaded(model, engine, checker, time.monotonic() - started)
        return None

    def _made(self, model: ModelSpec, busy: frozenset[str]) -> Engine:
        """A loaded engine; when memory runs out while other models could go, they go and it is tried once more."""
        try:
            return self._load_engine(model)
        except Exception as error:
            if not (is_out_of_memory(error) and self._drop_idle(busy)):
                raise
            child.log("warning", "Memory ran out while a model was loaded: the others went", model=model.name)
        return self._load_engine(model)

    def _load_engine(self, model: ModelSpec) -> Engine:
        engine = self._build(model)
        engine.load(self._begin.device)
        engine.know(self._rates_of(model, str(engine.form.get("dtype", ""))))
        return engine

    def _loaded(self, model: ModelSpec, engine: Engine, checker: str, seconds: float) -> None:
        measured = Measured(
            device=self._begin.device,
            model=model.name,
            dtype=str(engine.form.get("dtype", "")),
            shape="",
            rows=1,
            what="load",
            seconds=seconds,
        )
        described = Described(model=model.name, form=dict(engine.form) | ({"checker": checker} if checker else {}))
        self._line.send(
            messages.Loaded(
                model=model.name,
                warm=tuple(self._books),
                described=described,
                measured=measured,
            )
        )

    def _failed(self, model: ModelSpec, error: Exception) -> messages.Failure:
        failure = messages.pack_error(load_fault(error, model.name))
        error.__traceback__ = None  # its frames hold what was loaded so far
        free_memory()
        self._line.send(messages.Loaded(model=model.name, warm=tuple(self._books), failure=failure))
        return failure

    def _rates_of(self, model: ModelSpec, dtype: str) -> list[Measured]:
        return [rate for rate in self._begin.rates if (rate.model, rate.dtype) == (model.name, dtype)]

    # ------------------------------------------------------------ when memory runs out

    def ease(self, name: str, *, busy: frozenset[str]) -> str | None:
        """Memory ran out on a model. Returns the rung that was taken, and its tasks may be tried again at once; None:
        there is none left, and its tasks end. `busy`: other models that have tasks."""
        rung = OTHERS if self._drop_idle(busy | {name}) else self[name].save_memory()
        free_memory()
        if rung is None:
            self.is_worn_out = True
            self._line.send(messages.Worn())
        elif rung != OTHERS:
            self._taken[name] += 1
        child.log("warning", "Memory ran out", model=name, rung=rung or "a new process")
        self._line.send(messages.Loaded(model=name, warm=tuple(self._books)))
        return rung

    def release(self, names: tuple[str, ...], *, busy: frozenset[str]) -> None:
        """Unload these models, or all, but for the busy ones; and tell the parent."""
        before_mb = memory_mb(self._begin.device)
        dropped = tuple(name for name in self._books if name not in busy and (name in names or not names))
        for name in dropped:
            self._drop(name)
        free_memory()
        freed_mb = max(0, before_mb - memory_mb(self._begin.device))
        self._line.send(messages.Released(models=dropped, warm=tuple(self._books), freed_mb=freed_mb))

    # ------------------------------------------------------------ making room

    def _evict_for(self, model: ModelSpec, busy: frozenset[str]) -> None:
        """Drop the least recently used until one more model fits the limits."""
        for name in list(self._books):
            if self._fits(model, list(self._books.values())):
                return
            if name not in busy:
                self._drop(name)

    def _fits(self, model: ModelSpec, beside: list[_Book]) -> bool:
        memory_mb = model.memory_mb + sum(book.spec.memory_mb for book in beside)
        limit_mb = self._begin.warm_memory_mb
        is_within = len(beside) < max(1, self._begin.max_warm) and (not limit_mb or memory_mb <= limit_mb)
        return is_within and (not beside or self._plan(model, beside) is not None)

    def _plan(self, model: ModelSpec, beside: list[_Book]) -> Plan | None:
        """By the config; the loader looks again, at the files. None: something should go."""
        room = self._room()
        if room is None:
            return ALONE
        wanted = wanted_of(model, has_accelerator=room.kind != "cpu")
        return placement.beside(wanted, [book.plan for book in beside], room)

    def _estimate(self, model: ModelSpec, beside: list[_Book]) -> Plan:
        """For a model that is loaded now, whatever the estimates say."""
        room = self._room()
        if room is None:
            return ALONE
        wanted = wanted_of(model, has_accelerator=room.kind != "cpu")
        return self._plan(model, beside) or placement.plan(wanted, room) or placement.plans(wanted, room)[-1]

    def _drop_idle(self, busy: frozenset[str]) -> bool:
        """Unload all but the busy ones; False: there were no others."""
        idle = [name for name in self._books if name not in busy]
        for name in idle:
            self._drop(name)
        return bool(idle)

    def _drop(self, name: str) -> None:
        self._books.pop(name).engine.unload()
        free_memory()


def _is_same(loaded: ModelSpec, wanted: ModelSpec) -> bool:
    """Whatever it has said of itself since."""
    return replace(loaded, form={}) == replace(wanted, form={})


def room_by_torch(device: str) -> Callable[[], Room | None]:
    """For `Shelf`: what torch says, once some engine has imported it."""

    def room() -> Room | None:
        if "torch" not in sys.modules:
            return None
        from inference.memory.planner import whole_room

        return whole_room(device)

    return room


def memory_mb(device: str) -> int:
    """What this process holds, MiB: on the device when it has its own memory, else in RAM."""
    torch, kind = sys.modules.get("torch"), device.partition(":")[0]
    if torch is not None and kind in ("cuda", "xpu"):
        return int(getattr(torch, kind).memory_reserved(device) // 2**20)
    if torch is not None and kind == "mps":
        return int(torch.mps.driver_allocated_memory() // 2**20)
    import psutil  # type: ignore[import-untyped]

    return int(psutil.Process().memory_info().rss // 2**20)


def free_memory() -> None:
    """Give back what nobody refers to any more, also to the device."""
    gc.collect()
    torch = sys.modules.get("torch")
    for kind in ("cuda", "xpu", "mps"):
        backend = getattr(torch, kind, None)
        if backend is not None and backend.is_available():
            backend.empty_cache()
