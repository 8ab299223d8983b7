"""Compiling a model's denoiser on this machine, and switching to it only if that is better.

A build is made and tried in a process of its own, in which people's jobs come first. Until the switch, and whenever
anything fails, the model runs on torch as before.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import Any

import structlog

from bot.errors import InvalidOption, ModelRefused
from bot.jobs import Media
from bot.memory.fit import MachineSpec, format_gib
from bot.model_install.owner_config import write_config
from bot.models import TORCH, InstallProgress, ModelRegistry, ModelSpec
from bot.ports import BuildProgress, BuildReport, BuildRequest, Builds, BuildState, OwnerModelConfig, Pool
from bot.usecases.model_manager import Installation, ModelManager, Optimization

log = structlog.get_logger(__name__)

BACKENDS = ("openvino", "onnx", TORCH)
WEIGHTS = ("none", "8bit")
PRECISIONS = ("float32", "bfloat16", "float16")
_LONG_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
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
        if self.models.get(spec.name) is None or self.models.install_progress(spec.name) is not None:
            raise ModelRefused(spec.display_name, "build", detail="it is not installed")
        if backend == TORCH:
            return await self._go_back(spec, request)
        self._require_processor(spec, backend)
        report = await asyncio.to_thread(self.builds.find, request)
        installation = _new_installation(spec, request, report)
        if report is None:
            await self._require_memory(spec)
            self.manager.start_work(installation, partial(self._make_build, installation, switch=switch))
        else:
            self.manager.start_work(installation, None)
            self._switch_if_better(installation, switch=switch)
        return installation

    async def list_builds(self) -> list[BuildState]:
        return await asyncio.to_thread(self.builds.list_states, list(self.models.all_specs))

    async def remove_builds(self, name: str) -> int:
        """Delete all builds of a model, which runs on torch then; returns the bytes freed. Raises: ModelRefused."""
        spec = self.models.require(name)
        if spec.backend != TORCH:
            await self.optimize(name, backend=TORCH)
        return await asyncio.to_thread(self.builds.remove, spec.name)

    # ------------------------------------------------------------ one build

    async def _make_build(self, installation: Installation, *, switch: bool) -> None:
        """Raises: ModelRefused."""
        optimization = installation.optimization
        assert optimization is not None
        request = replace(optimization.request, image=self.sample_image(), device=self._device())
        async with aclosing(self.builds.make(request, is_paused=partial(is_busy, self.pool))) as events:
            async for event in events:
                match event:
                    case BuildProgress(stage, done, total):
                        self.manager.report_progress(installation, InstallProgress(stage=stage, done=done, total=total))
                    case BuildReport():
                        optimization.report = event
        self._switch_if_better(installation, switch=switch)
        if optimization.report is not None and not (optimization.report.is_better or optimization.is_applied):
            await self._remove_build(request)

    async def _remove_build(self, request: BuildRequest) -> None:
        """It would only take space."""
        for state in await self.list_builds():
            if (state.model, state.backend, state.precision, state.weights, state.loras) == request.names:
                await asyncio.to_thread(self.builds.remove_build, state.key)

    def _require_processor(self, spec: ModelSpec, backend: str) -> None:
        """Raises: ModelRefused: the backend computes on the processor only, and models run on other devices here."""
        devices = [status.device for status in self.pool.device_statuses()]
        if backend == "openvino" and devices and not any(device.startswith("cpu") for device in devices):
            detail = f"OpenVINO computes on the processor, and models run on {', '.join(devices)} here"
            raise ModelRefused(spec.display_name, "build", detail=detail)

    def _device(self) -> str:
        return next((status.device for status in self.pool.device_statuses()), "cpu")

    async def _require_memory(self, spec: ModelSpec) -> None:
        """Unload idle models: on the processor, only if that is needed to make room.

        Raises: ModelRefused: the machine has not enough memory.
        """
        need_mb = needed_mb(spec)
        if self._device() == "cpu" and (await self.machine_spec()).free_ram_mb >= need_mb:
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
        states = await self.list_builds()
        names = (spec.name, spec.backend, "")
        used = [one for one in states if (one.model, one.backend, one.loras) == names and one.report]
        self.manager.start_work(installation, None)
        if spec.backend != TORCH:
            table: dict[str, Any] = {"backend": TORCH}
            before = next((one.report.dtype for one in used if one.report and one.precision == format_of(spec)), "")
            self._change_settings(spec, table | ({"dtype": before} if before and before != spec.dtype else {}))
        assert installation.optimization is not None
        installation.optimization.is_applied = True
        return installation

    def _change_settings(self, spec: ModelSpec, table: dict[str, Any]) -> None:
        write_config(lambda: self.owner_config.set_model(spec.name, table))
        self.models.add_model(replace(spec, **table))
        self.pool.set_models(self.models.installed())
        log.info("backend changed", action="backend_changed", model=spec.name, backend=table["backend"])


def _new_installation(spec: ModelSpec, request: BuildRequest, report: BuildReport | None) -> Installation:
    optimization = Optimization(request=request, report=report)
    progress = InstallProgress(stage="exporting")
    return Installation(spec=spec, tasks=(), is_new=False, optimization=optimization, progress=progress)


def _make_request(spec: ModelSpec, backend: str, weights: str, precision: str) -> BuildRequest:
    """Raises: InvalidOption."""
    precision = _LONG_NAMES.get(precision, precision) or format_of(spec)
    weights = weights.removeprefix("auto") or ("8bit" if spec.quantize == "8bit" else "none")
    for option, value, allowed in (
        ("backend", backend, BACKENDS),
        ("weights", weights, WEIGHTS),
        ("precision", precision, PRECISIONS),
    ):
        if value not in allowed:
            near = get_close_matches(value, allowed, 1)
            raise InvalidOption(
                option, "choice", value=value, allowed=", ".join(allowed), nearest=near[0] if near else ""
            )
    return BuildRequest(model=spec, backend=backend, precision=precision, weights=weights)


def format_of(spec: ModelSpec) -> str:
    """What a build of the model computes in, unless asked for another."""
    return "float32" if spec.dtype == "auto" else _LONG_NAMES.get(spec.dtype, spec.dtype)


def _settings_for(spec: ModelSpec, request: BuildRequest) -> dict[str, Any]:
    """The settings with which the model runs on the build."""
    table: dict[str, Any] = {"backend": request.backend}
    if format_of(spec) != request.precision:
        table["dtype"] = request.precision
    if request.weights != "none" and spec.quantize != request.weights:
        table["quantize"] = request.weights
    return table


def is_busy(pool: Pool) -> bool:
    """Whether people's jobs run."""
    return any(status.running for status in pool.device_statuses())


def needed_mb(spec: ModelSpec) -> int:
    """Memory that compiling needs, MiB; 0: unknown."""
    parts = spec.components_mb
    denoiser_mb = sum(size for name, size in parts.items() if name.startswith(("unet", "transformer")))
    return 2 * (sum(parts.values()) + (COPIES - 1) * denoiser_mb)
