"""Compiling a model's denoiser on this machine, and switching to it only if that is better.

A build is made and tried in a process of its own, in which people's jobs come first. Until the switch, and whenever
anything fails, the model runs on torch as before.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog

from bot import error_texts
from bot.errors import ModelRefused
from bot.jobs import Media
from bot.memory.fit import MachineSpec, format_gib
from bot.memory.weights import FORMATS
from bot.model_install.owner_config import write_config
from bot.models import (
    IMAGE_TEXT_TO_IMAGE,
    TEXT_TO_IMAGE,
    TORCH,
    InstallProgress,
    ModelRegistry,
    ModelSpec,
)
from bot.ports import BuildProgress, BuildReport, BuildRequest, Builds, BuildState, OwnerModelConfig, Pool
from bot.usecases.installations import Installation, Optimization
from bot.usecases.model_execution import ModelExecution, find_execution
from bot.usecases.model_manager import ModelManager
from bot.usecases.number_formats import (
    AUTO,
    PRECISIONS,
    compiled_precision,
    compiled_weights,
    format_settings,
    long_name,
    require_choice,
)

log = structlog.get_logger(__name__)

BACKENDS = ("openvino", "onnx", TORCH)
WEIGHTS = ("none", "8bit")
"""Formats of the weights of builds."""
COPIES = 4
"""Of a denoiser in float32 that are in memory while it is compiled: torch's, the exported one, and the library's."""


@dataclass(kw_only=True)
class ModelOptimizer:
    models: ModelRegistry
    manager: ModelManager
    builds: Builds
    pool: Pool
    owner_config: OwnerModelConfig
    machine_spec: Callable[[], Awaitable[MachineSpec]]
    sample_image: Callable[[], Media]

    async def optimize(
        self, name: str, *, backend: str = "openvino", weights: str = "", precision: str = "", switch: bool = False
    ) -> Installation:
        """Find or make the model's build in the background; `ModelManager.status` has its progress and its report.

        Args:
            backend: "torch" goes back.
            precision: by default the model's `dtype`, which is float32 if that is "auto".
            switch: run the model on the build if it is better.

        Raises: InvalidOption, ModelRefused.
        """
        spec = self.models.require(name)
        request = _make_request(spec, backend, weights, precision)
        self._require_installed(spec)
        if backend == TORCH:
            return await self._go_back(spec, request)
        if not set(spec.tasks) & {TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE}:
            raise ModelRefused(spec.display_name, "build", detail="it makes no images")
        self._require_processor(spec, backend)
        report = await asyncio.to_thread(self.builds.find, request)
        installation = _new_installation(spec, request, report)
        if report is None:
            await self._require_memory(spec, trial_device(self.pool, backend))
            self._require_installed(spec)  # reading its weights takes time
            self.manager.start_work(installation, partial(self._make_build, installation, switch=switch))
        else:
            self._do_now(installation, partial(self._switch_if_better, installation, switch=switch))
        return installation

    async def list_builds(self) -> list[BuildState]:
        return await asyncio.to_thread(self.builds.list_states, list(self.models.all_specs))

    async def find_executions(self) -> dict[str, ModelExecution]:
        """What each enabled model runs on."""
        states = await self.list_builds()
        return {spec.name: find_execution(spec, states, self.builds.is_installed) for spec in self.models}

    async def remove_builds(self, name: str) -> int:
        """Delete all builds of a model, which runs on torch then; returns the bytes freed. Raises: ModelRefused."""
        spec = self.models.require(name)
        if self.models.get(spec.name) is not None:
            await self.optimize(name, backend=TORCH)
        return await asyncio.to_thread(self.builds.remove, spec.name)

    # ------------------------------------------------------------ one build

    async def _make_build(self, installation: Installation, *, switch: bool) -> None:
        """Raises: ModelRefused."""
        optimization = installation.optimization
        assert optimization is not None
        request = replace(
            optimization.request,
            model=await self._on_torch(optimization.request.model),
            image=self.sample_image(),
            device=trial_device(self.pool, optimization.request.backend),
            torch_dtype=_torch_dtype(optimization.request.model),
        )
        async with aclosing(self.builds.make(request, is_paused=partial(is_busy, self.pool))) as events:
            async for event in events:
                match event:
                    case BuildProgress(stage, done, total):
                        self.manager.report_progress(installation, InstallProgress(stage=stage, done=done, total=total))
                    case BuildReport():
                        optimization.report = event
        before = self.models.require(request.model.name)
        self._switch_if_better(installation, switch=switch)
        if optimization.is_applied and self.models.get(before.name) is before:
            self._load_anew(before)
        if optimization.report is not None and not (optimization.report.is_better or optimization.is_applied):
            await self._remove_build(request)

    async def _remove_build(self, request: BuildRequest) -> None:
        """It would only take space."""
        for state in await self.list_builds():
            if state.names == request.names:
                await asyncio.to_thread(self.builds.remove_build, state.key)

    def _require_installed(self, spec: ModelSpec) -> None:
        """Raises: ModelRefused."""
        if self.models.get(spec.name) is None or self.models.install_progress(spec.name) is not None:
            raise ModelRefused(spec.display_name, "build", detail="it is not installed")

    def _require_processor(self, spec: ModelSpec, backend: str) -> None:
        """Raises: ModelRefused: the backend computes on the processor only, and models run on other devices here."""
        devices = [status.device for status in self.pool.device_statuses()]
        if backend == "openvino" and devices and not any(device.startswith("cpu") for device in devices):
            detail = f"OpenVINO computes on the processor, and models run on {', '.join(devices)} here"
            raise ModelRefused(spec.display_name, "build", detail=detail)

    async def _require_memory(self, spec: ModelSpec, device: str) -> None:
        """Unload idle models: on the processor, only if that is needed to make room.

        Raises: ModelRefused: the machine has not enough memory.
        """
        need_mb = needed_mb(spec)
        if device == "cpu" and (await self.machine_spec()).free_ram_mb >= need_mb:
            return
        await self.pool.unload_idle_models()
        free_mb = (await self.machine_spec()).free_ram_mb
        if free_mb < need_mb:
            detail = f"compiling it needs about {format_gib(need_mb)} of memory, {format_gib(free_mb)} are free"
            raise ModelRefused(spec.display_name, "build", detail=detail)

    # ------------------------------------------------------------ switching

    def _switch_if_better(self, installation: Installation, *, switch: bool) -> None:
        """Raises: ModelRefused: the owner's file cannot be written."""
        optimization = installation.optimization
        assert optimization is not None
        report, request = optimization.report, optimization.request
        spec = self.models.require(installation.spec.name)
        table = _settings_for(spec, request)
        is_used = all(getattr(spec, key) == value for key, value in table.items())
        if report is not None and report.is_better and switch and not is_used:
            self._change_settings(spec, table)
        optimization.is_applied = is_used or bool(report and report.is_better and switch)

    async def _go_back(self, spec: ModelSpec, request: BuildRequest) -> Installation:
        installation = _new_installation(spec, request, None)
        before = await self._on_torch(spec)
        table = {key: getattr(before, key) for key in ("backend", "dtype", "quantize")}
        changed = {key: value for key, value in table.items() if getattr(spec, key) != value}
        self._do_now(installation, lambda: self._change_settings(spec, changed) if changed else None)
        assert installation.optimization is not None
        installation.optimization.is_applied = True
        return installation

    async def _on_torch(self, spec: ModelSpec) -> ModelSpec:
        """The model as it ran on torch, before it ran on the build that its settings name."""
        if spec.backend == TORCH:
            return spec
        states = await self.list_builds()
        names = (spec.name, spec.backend, compiled_precision(spec), compiled_weights(spec), "")
        used = [one for one in states if one.names == names]
        report = next((one.report for one in used if one.report is not None), None)
        return replace(spec, backend=TORCH, **(_settings_before(spec, report) if report is not None else {}))

    def _do_now(self, installation: Installation, change: Callable[[], None]) -> None:
        """What takes no time; the status has its error. Raises: ModelRefused."""
        self._require_installed(installation.spec)
        self.manager.start_work(installation, None)
        try:
            change()
        except ModelRefused as refused:
            installation.error = error_texts.explain(refused)
            raise

    def _load_anew(self, spec: ModelSpec) -> None:
        """Workers that have the model loaded run it without this build, perhaps because it was not there."""
        self.models.add_model(replace(spec, generation=spec.generation + 1))
        self.pool.set_models(self.models.installed())

    def _change_settings(self, spec: ModelSpec, table: dict[str, Any]) -> None:
        write_config(lambda: self.owner_config.set_model(spec.name, table))
        self.models.add_model(replace(self.models.require(spec.name), **table))
        self.pool.set_models(self.models.installed())
        log.info("backend changed", action="backend_changed", model=spec.name, backend=table["backend"])


def _new_installation(spec: ModelSpec, request: BuildRequest, report: BuildReport | None) -> Installation:
    optimization = Optimization(request=request, report=report)
    progress = InstallProgress(stage="exporting")
    return Installation(spec=spec, tasks=(), optimization=optimization, progress=progress)


def _make_request(spec: ModelSpec, backend: str, weights: str, precision: str) -> BuildRequest:
    """Raises: InvalidOption."""
    precision = ("" if precision == AUTO else long_name(precision)) or compiled_precision(spec)
    weights = ("" if weights == AUTO else weights) or compiled_weights(spec)
    return BuildRequest(
        model=spec,
        backend=require_choice("backend", backend, BACKENDS),
        precision=require_choice("precision", precision, PRECISIONS[1:]),
        weights=require_choice("weights", weights, WEIGHTS),
    )


def _settings_for(spec: ModelSpec, request: BuildRequest) -> dict[str, Any]:
    """The settings with which the model runs on the build."""
    is_plain = request.weights == "none" and spec.quantize not in FORMATS
    weights = "" if is_plain else request.weights
    precision = "" if compiled_precision(spec) == request.precision else request.precision
    return {"backend": request.backend, **format_settings(spec, weights, precision)}


def _settings_before(spec: ModelSpec, report: BuildReport) -> dict[str, Any]:
    """The settings that differ from those with which the model ran on torch."""
    before = {"dtype": report.dtype, "quantize": report.quantize or spec.quantize}
    return {key: value for key, value in before.items() if getattr(spec, key) != value}


def _torch_dtype(spec: ModelSpec) -> str:
    """The number format in which torch computes the model for people, if its table leaves that open; empty: unknown."""
    is_chosen = spec.backend == TORCH and spec.dtype == AUTO
    return str(spec.capabilities.get("dtype", "")) if is_chosen else ""


def trial_device(pool: Pool, backend: str = TORCH) -> str:
    """Where torch computes for people, and so in trials; where OpenVINO computes too, which is on the processor."""
    devices = [status.device for status in pool.device_statuses()]
    return next((one for one in devices if backend != "openvino" or one.startswith("cpu")), "cpu")


def is_busy(pool: Pool) -> bool:
    """Whether people's jobs run."""
    return any(status.running for status in pool.device_statuses())


def needed_mb(spec: ModelSpec) -> int:
    """Memory that compiling needs, MiB; 0: unknown."""
    parts = spec.components_mb
    denoiser_mb = sum(size for name, size in parts.items() if name.startswith(("unet", "transformer")))
    return 2 * (sum(parts.values()) + (COPIES - 1) * denoiser_mb)
