"""The models a device keeps loaded: a few, the least recently used of them goes first."""

import gc
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from bot.models import ModelSpec
from bot.ports import Described, Measured
from inference import child, protocol
from inference.classifier import Checker
from inference.engine import Engine
from inference.faults import load_fault


class Shelf:
    """Loads engines by model. Every load is announced before and after, so that the parent can time it."""

    def __init__(
        self, build: Callable[[ModelSpec], Engine], begin: protocol.Begin, line: child.Line, checker: Checker
    ) -> None:
        self._build = build
        self._checker = checker
        self._begin = begin
        self._line = line
        self._engines: OrderedDict[str, tuple[ModelSpec, Engine]] = OrderedDict()
        self._small: set[str] = set()

    def __getitem__(self, name: str) -> Engine:
        return self._engines[name][1]

    def dtype(self, name: str) -> str:
        return str(self[name].form.get("dtype", ""))

    def load(self, model: ModelSpec, *, busy: frozenset[str]) -> protocol.Failure | None:
        """Have the model loaded. Models that are `busy` stay. Returns why it cannot be had, or None."""
        if model.name in self._engines:
            if _is_same(self._engines[model.name][0], model) or model.name in busy:
                self._engines.move_to_end(model.name)
                return None
            self._drop(model.name)  # its settings are others now: another revision, for example
        self._line.send(protocol.Loading(model.name))
        self._evict_for(model, busy)
        started = time.monotonic()
        try:
            engine = self._build(model)
            engine.load(self._begin.device)
            engine.know(self._rates_of(model, str(engine.form.get("dtype", ""))))
            checker = self._checker.prepare(model)
        except Exception as error:
            return self._failed(model, error)
        self._engines[model.name] = (model, engine)
        if model.name in self._small:
            engine.save_memory()
        self._loaded(model, engine, checker, time.monotonic() - started)
        return None

    def make_room(self, name: str, *, busy: frozenset[str]) -> None:
        """Memory ran out: only the busy models stay, and `name` is careful from now on."""
        self._small.add(name)
        for other in [n for n in self._engines if n not in busy]:
            self._drop(other)
        self._line.send(protocol.Loaded(model=name, warm=tuple(self._engines)))

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
            protocol.Loaded(
                model=model.name,
                warm=tuple(self._engines),
                described=described,
                measured=measured,
            )
        )

    def _failed(self, model: ModelSpec, error: Exception) -> protocol.Failure:
        failure = protocol.pack_error(load_fault(error, model.name))
        _free_memory()
        self._line.send(protocol.Loaded(model=model.name, warm=tuple(self._engines), failure=failure))
        return failure

    def _rates_of(self, model: ModelSpec, dtype: str) -> list[Measured]:
        return [rate for rate in self._begin.rates if (rate.model, rate.dtype) == (model.name, dtype)]

    def _evict_for(self, model: ModelSpec, busy: frozenset[str]) -> None:
        """Drop the least recently used until one more model fits the limits."""
        for name in list(self._engines):
            if self._fits(model):
                return
            if name not in busy:
                self._drop(name)

    def _fits(self, model: ModelSpec) -> bool:
        memory_mb = model.memory_mb + sum(spec.memory_mb for spec, _ in self._engines.values())
        limit_mb = self._begin.warm_memory_mb
        is_within = not limit_mb or memory_mb <= limit_mb
        return len(self._engines) < max(1, self._begin.max_warm) and is_within

    def _drop(self, name: str) -> None:
        _, engine = self._engines.pop(name)
        engine.unload()
        del engine
        _free_memory()


def _is_same(loaded: ModelSpec, wanted: ModelSpec) -> bool:
    """Whatever it has said of itself since."""
    return replace(loaded, form={}) == replace(wanted, form={})


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
