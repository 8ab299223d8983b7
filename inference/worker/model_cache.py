"""The cache of loaded models: as many as the device's memory holds; the least recently used is evicted first.

When memory runs out during computation, the cache goes down a list of fallback levels: it unloads other models, then
the engine uses less memory (smaller passes, tiled decodes, offloaded components), and at the end the process needs a
restart. A model's level is remembered for the lifetime of the process.
"""

import gc
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from bot.memory import placement
from bot.memory.fit import model_requirements
from bot.memory.placement import MemoryBudget, PlacementPlan
from bot.models import TORCH, ModelSpec
from bot.ports import FORMAT, Measurement, ModelCapabilities
from inference.engine.base import TRIED, Engine
from inference.engine.error_mapping import is_out_of_memory, to_load_error
from inference.engine.plugins.plugin_host import AcceptsPlugins, PluginHost
from inference.ipc import child, messages
from inference.safety.checker import SafetyChecker
from inference.worker.early_import import EarlyImport
from inference.worker.format_trial import (
    HALF,
    LEVELS,
    choose_format,
    describe_choice,
    format_key,
    has_bfloat16_instructions,
    may_choose_format,
)

OTHER_MODELS = "others"
"""The first fallback level: models without running tasks are unloaded."""
NO_PLAN = PlacementPlan(model="", placements={})
"""The plan of a model while the memory budget is unknown."""


@dataclass(frozen=True)
class CachedModel:
    """A loaded model. `plan`: the estimate of its memory; `dtype`: it was asked for, other than the spec's "auto";
    `checker`: of its images, as `SafetyChecker.load_for` returns it; `plugins`: those that have changed it."""

    spec: ModelSpec
    engine: Engine
    plan: PlacementPlan
    dtype: str = "auto"
    checker: str = ""
    plugins: tuple[object, ...] = ()


def unknown_budget() -> MemoryBudget | None:
    """The budget of a device whose memory is unknown."""
    return None


class ModelCache:
    """Loads engines by model. Reports the start and the end of every load, for the parent's time limit.

    `memory_budget`: returns the memory that all models together may use; None: unknown. `libraries`: what is imported
    before the first load.
    """

    def __init__(
        self,
        build_engine: Callable[[ModelSpec], Engine],
        init: messages.Init,
        pipes: child.PipeConnection,
        checker: SafetyChecker,
        *,
        memory_budget: Callable[[], MemoryBudget | None] = unknown_budget,
        libraries: EarlyImport | None = None,
        plugins: PluginHost | None = None,
    ) -> None:
        self._plugins = plugins or PluginHost(pipes.send)
        self._build_engine = build_engine
        self._checker = checker
        self._init = init
        self._pipes = pipes
        self._memory_budget = memory_budget
        self._libraries = libraries or EarlyImport("")
        self._cached: OrderedDict[str, CachedModel] = OrderedDict()
        self._reductions: Counter[str] = Counter()
        self._has_imported = False
        """An engine was built, which imports the engines' libraries."""
        self._measured: list[Measurement] = []
        """Since the last report of a load."""
        self._tried: dict[Measurement, Measurement] = {}
        """The latest of each kind that trials have found in this process."""
        self._forced_dtypes: dict[str, str] = {}
        """By model: the format that a trial needs."""
        self._format_keys: dict[str, tuple[ModelSpec, str]] = {}
        self._reported: dict[str, dict[str, Any]] = {}
        """The capabilities of models, as they were reported last."""
        self.needs_restart = False
        """Memory ran out at the last fallback level."""

    def __getitem__(self, name: str) -> Engine:
        return self._cached[name].engine

    def __contains__(self, name: object) -> bool:
        return name in self._cached

    def dtype_of(self, name: str) -> str:
        return str(self[name].capabilities.get("dtype", ""))

    def backend_of(self, name: str) -> str:
        return str(self[name].capabilities.get("backend", TORCH))

    # ------------------------------------------------------------ loading

    def can_load(self, model: ModelSpec, *, busy: frozenset[str]) -> bool:
        """Whether the model is loaded or fits beside the busy models. If nothing is busy, waiting would not help.

        One whose settings have changed is loaded anew when its tasks have ended.
        """
        if not busy:
            return True
        if model.name in self._cached:
            return model.name not in busy or _has_same_spec(self._cached[model.name].spec, model)
        return self._fits(model, [cached for name, cached in self._cached.items() if name in busy])

    def load_model(self, model: ModelSpec, *, busy: frozenset[str]) -> messages.PackedError | None:
        """Load the model, unless it is loaded already. Busy models stay. Returns the error if it cannot be loaded."""
        if model.name in self._cached:
            cached = self._cached[model.name]
            is_same = _has_same_spec(cached.spec, model) and cached.dtype == self._with_format(model).dtype
            is_same = is_same and cached.plugins == self._plugins.model_key
            if is_same or model.name in busy:
                self._cached.move_to_end(model.name)
                return None
            self._unload_model(model.name)  # its settings have changed: another revision, for example
        self._pipes.send(messages.ModelLoading(model.name))
        self._libraries.wait()
        self._evict_until_fits(model, busy)
        started = time.monotonic() - self._libraries.unreported_s
        try:
            engine = self._load_or_evict(model, busy)
            checker = self._checker.load_for(model)
        except Exception as error:
            return self._report_failed(model, error)
        plan = self._estimate_plan(self._with_format(model), list(self._cached.values()))
        self._cached[model.name] = CachedModel(
            model, engine, plan, self._with_format(model).dtype, checker, self._plugins.model_key
        )
        for _ in range(self._reductions[model.name]):
            engine.reduce_memory()
        load_s = time.monotonic() - started - sum(one.seconds for one in self._measured)
        self._measure("load", load_s, model.name, self.dtype_of(model.name), self.backend_of(model.name))
        self._report_loaded(model)
        return None

    def _load_or_evict(self, model: ModelSpec, busy: frozenset[str]) -> Engine:
        """A loaded engine. If memory runs out, idle models are unloaded and loading is tried once more."""
        try:
            return self._load_engine(model)
        except Exception as error:
            if not (is_out_of_memory(error) and self._unload_idle(busy)):
                raise
            child.log("warning", "Memory ran out while a model was loaded: idle models were unloaded", model=model.name)
        return self._load_engine(model)

    def _load_engine(self, model: ModelSpec) -> Engine:
        started = time.monotonic() - self._libraries.unreported_s
        engine = self._build_engine(self._with_format(model))
        if not (self._has_imported or self._checker.has_imported):
            self._measure("import", time.monotonic() - started)
        self._has_imported, self._libraries.unreported_s = True, 0.0
        if isinstance(engine, AcceptsPlugins):
            engine.plugins = self._plugins
        engine.load_model(self._init.device)
        engine.load_costs(self._measurements_of(model, str(engine.capabilities.get("dtype", ""))))
        return engine

    def _with_format(self, model: ModelSpec) -> ModelSpec:
        """The model in the number format that was measured to be the quickest here, where that is left open."""
        if not may_choose_format(model, self._init.device):
            return model
        forced = self._forced_dtypes.get(model.name)
        chosen = forced or self.measured_format(model)
        is_able = chosen == "bfloat16" and (forced or has_bfloat16_instructions())
        return replace(model, dtype=chosen) if is_able else model

    def load_in(self, model: ModelSpec, dtype: str) -> messages.PackedError | None:
        """Load the model in this number format until `load_model` is called for it next; nothing else is busy."""
        self._forced_dtypes[model.name] = dtype
        try:
            return self.load_model(model, busy=frozenset())
        finally:
            del self._forced_dtypes[model.name]

    def measured_format(self, model: ModelSpec) -> str:
        """The number format that a trial of these weights on this processor has found to be the quickest; empty: none
        has."""
        known = (*self._init.measurements, *self._tried.values())
        found = [one for one in known if (one.model, one.what) == (model.name, FORMAT)]
        return choose_format(found, self.format_key_of(model)) if found else ""

    def format_key_of(self, model: ModelSpec) -> str:
        """While it is loaded, that of the files that were loaded."""
        spec, key = self._format_keys.get(model.name, (model, ""))
        if not key or not _has_same_spec(spec, model):
            key = format_key(model)
            self._format_keys[model.name] = model, key
        return key

    def _measure(self, what: str, seconds: float, model: str = "", dtype: str = "", backend: str = TORCH) -> None:
        self._measured.append(
            Measurement(
                device=self._init.device,
                model=model,
                dtype=dtype,
                shape="",
                batch_size=1,
                what=what,
                seconds=seconds,
                backend=backend,
            )
        )

    def _take_measurements(self) -> tuple[Measurement, ...]:
        measured, self._measured = tuple(self._measured), []
        return measured

    def take_changed_capabilities(self, name: str) -> ModelCapabilities | None:
        """Of a loaded model; None: they are as they were reported last."""
        cached = self._cached[name]
        found = dict(cached.engine.capabilities) | ({"checker": cached.checker} if cached.checker else {})
        if may_choose_format(cached.spec, self._init.device) and found.get("dtype") == HALF:
            measured = [one for one in (*self._init.measurements, *self._tried.values()) if one.model == name]
            found |= describe_choice(measured, self.format_key_of(cached.spec))
        if found == self._reported.get(name):
            return None
        self._reported[name] = found
        return ModelCapabilities(model=name, capabilities=found)

    def _report_loaded(self, model: ModelSpec) -> None:
        self._reported.pop(model.name, None)
        self._pipes.send(
            messages.ModelLoaded(
                model=model.name,
                loaded_models=tuple(self._cached),
                capabilities=self.take_changed_capabilities(model.name),
                measurements=self._take_measurements(),
            )
        )

    def _report_failed(self, model: ModelSpec, error: Exception) -> messages.PackedError:
        failure = messages.pack_error(to_load_error(error, model.name))
        error.__traceback__ = None  # its frames hold what was loaded so far
        free_memory()
        self._pipes.send(
            messages.ModelLoaded(
                model=model.name,
                loaded_models=tuple(self._cached),
                measurements=self._take_measurements(),
                failure=failure,
            )
        )
        return failure

    def _measurements_of(self, model: ModelSpec, dtype: str) -> list[Measurement]:
        known = (*self._init.measurements, *self._tried.values())
        return [one for one in known if (one.model, one.dtype) == (model.name, dtype)]

    def remember(self, measured: Measurement) -> None:
        """What a trial found counts for the model's next load, too."""
        if measured.what in (*TRIED, FORMAT, LEVELS):
            self._tried[replace(measured, seconds=0.0)] = measured

    # ------------------------------------------------------------ when memory runs out

    def reduce_memory(self, name: str, *, busy: frozenset[str]) -> str | None:
        """Go down one fallback level after memory ran out on a model. `busy`: other models that have tasks.

        Returns the level, at which the model's tasks can be retried; None: there is no further level, and they fail.
        """
        level = OTHER_MODELS if self._unload_idle(busy | {name}) else self[name].reduce_memory()
        free_memory()
        if level is None:
            self.needs_restart = True
            self._pipes.send(messages.RestartRequested())
        elif level != OTHER_MODELS:
            self._reductions[name] += 1
        child.log("warning", "Memory ran out", model=name, fallback=level or "restart")
        self._pipes.send(messages.ModelLoaded(model=name, loaded_models=tuple(self._cached)))
        return level

    def unload(self, names: tuple[str, ...], *, busy: frozenset[str]) -> None:
        """Unload these models, or all if none is named, except busy ones, and report it."""
        before_mb = used_memory_mb(self._init.device)
        unloaded = tuple(name for name in self._cached if name not in busy and (name in names or not names))
        for name in unloaded:
            self._unload_model(name)
        free_memory()
        freed_mb = max(0, before_mb - used_memory_mb(self._init.device))
        self._pipes.send(messages.ModelsUnloaded(models=unloaded, loaded_models=tuple(self._cached), freed_mb=freed_mb))

    # ------------------------------------------------------------ eviction

    def _evict_until_fits(self, model: ModelSpec, busy: frozenset[str]) -> None:
        """Unload the least recently used models until one more fits the limits."""
        for name in list(self._cached):
            if self._fits(model, list(self._cached.values())):
                return
            if name not in busy:
                self._unload_model(name)

    def _fits(self, model: ModelSpec, beside: list[CachedModel]) -> bool:
        memory_mb = model.memory_mb + sum(cached.spec.memory_mb for cached in beside)
        limit_mb = self._init.loaded_models_mb
        is_within = len(beside) < max(1, self._init.max_loaded_models) and (not limit_mb or memory_mb <= limit_mb)
        return is_within and (not beside or self._plan_beside(model, beside) is not None)

    def _plan_beside(self, model: ModelSpec, beside: list[CachedModel]) -> PlacementPlan | None:
        """By the model's settings; the loader plans again, by its files. None: it does not fit."""
        budget = self._memory_budget()
        if budget is None:
            return NO_PLAN
        needs = model_requirements(model, has_accelerator=budget.kind != "cpu")
        return placement.plan_beside(needs, [cached.plan for cached in beside], budget)

    def _estimate_plan(self, model: ModelSpec, beside: list[CachedModel]) -> PlacementPlan:
        """For a model that is loaded, even if by the estimates it does not fit."""
        budget = self._memory_budget()
        if budget is None:
            return NO_PLAN
        needs = model_requirements(model, has_accelerator=budget.kind != "cpu")
        return (
            self._plan_beside(model, beside)
            or placement.best_plan(needs, budget)
            or placement.all_plans(needs, budget)[-1]
        )

    def _unload_idle(self, busy: frozenset[str]) -> bool:
        """Unload all models that are not busy; False: there were none."""
        idle = [name for name in self._cached if name not in busy]
        for name in idle:
            self._unload_model(name)
        return bool(idle)

    def _unload_model(self, name: str) -> None:
        self._cached.pop(name).engine.unload_model()
        self._format_keys.pop(name, None)
        free_memory()


def _has_same_spec(first: ModelSpec, second: ModelSpec) -> bool:
    """Ignores what does not matter to a loaded model: such as the capabilities that it has reported since."""
    return all(getattr(first, name) == getattr(second, name) for name in _LOADED_SETTINGS)


_LOADED_SETTINGS = tuple(
    one.name for one in fields(ModelSpec) if one.name not in ("adapters", "capabilities", "default_for", "enabled")
)


def torch_memory_budget(device: str) -> Callable[[], MemoryBudget | None]:
    """A `memory_budget` for `ModelCache`: torch's figures once an engine has imported torch, unknown before."""

    def budget() -> MemoryBudget | None:
        if "torch" not in sys.modules:
            return None
        from inference.memory.planner import total_memory_budget

        return total_memory_budget(device)

    return budget


def used_memory_mb(device: str) -> int:
    """Memory that this process uses, MiB: on the device, where that has its own memory, else RAM."""
    torch, kind = sys.modules.get("torch"), device.partition(":")[0]
    if torch is not None and kind in ("cuda", "xpu"):
        return int(getattr(torch, kind).memory_reserved(device) // 2**20)
    if torch is not None and kind == "mps":
        return int(torch.mps.driver_allocated_memory() // 2**20)
    import psutil  # type: ignore[import-untyped]

    return int(psutil.Process().memory_info().rss // 2**20)


def free_memory() -> None:
    """Collect garbage and return cached device memory to the device."""
    gc.collect()
    torch = sys.modules.get("torch")
    for kind in ("cuda", "xpu", "mps"):
        backend = getattr(torch, kind, None)
        if backend is not None and backend.is_available():
            backend.empty_cache()
