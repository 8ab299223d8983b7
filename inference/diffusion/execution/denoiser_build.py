"""Compiles the denoiser of a model, tries it, and keeps the build with what was measured."""

import contextlib
import copy
import errno
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bot.errors import EaselError, ModelRefused
from bot.ports import BuildProgress, BuildReport, BuildRequest
from bot.runtime.private_files import make_private_folder
from inference.backends import builds
from inference.backends.compiled_module import CompiledModule
from inference.backends.export import export_module
from inference.backends.graph import CompiledGraph, RefusedOptions, graph_backend, graph_options
from inference.backends.graph_inputs import UnsupportedModule, graph_inputs_for
from inference.checkpoints.resolve import model_path
from inference.diffusion.execution import build_trial
from inference.diffusion.execution.build_trial import BuildTrial
from inference.diffusion.loader import denoiser_name, load_pipeline
from inference.diffusion.lora import LoraManager
from inference.engine.error_mapping import is_out_of_memory
from inference.engine.image_levels import largest_difference
from inference.ipc import child, messages
from inference.ipc.build_messages import MakeBuild
from inference.memory.precision import dtype_for

MIN_FREE_BYTES = 512 * 2**20
"""Left on the disk."""
DISK_COPIES = 2
"""Of the weights: an export is saved anew by ONNX Runtime, and OpenVINO caches what it has compiled."""
Report = Callable[[BuildProgress], None]


def run_build(asked: MakeBuild, is_free: threading.Event, report: Report) -> BuildReport | messages.PackedError:
    """The report of the build, or why there is none; then nothing is left of it. `is_free`: no job runs."""
    if asked.threads:
        torch.set_num_threads(asked.threads)
    try:
        return make_build(asked, is_free, report)
    except EaselError as error:
        return messages.pack_error(error)
    except Exception as error:  # the libraries raise many types
        problem = _problem_of(error, Path(asked.folder))
        child.log("error", "A build failed", problem=child.format_traceback(error)[-2000:])
        return messages.pack_error(ModelRefused(asked.request.model.name, "build", detail=problem))


def _problem_of(error: Exception, folder: Path) -> str:
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    with contextlib.suppress(OSError):
        is_full = is_full or shutil.disk_usage(folder).free < 2**20  # libraries hide the reason
    if is_full:
        return "the disk filled up while it was compiled"
    if is_out_of_memory(error):
        return "memory ran out while it was compiled"
    if isinstance(error, OSError) and Path(str(error.filename)).is_relative_to(folder):
        return f"its build cannot be written to {folder} ({error.strerror})"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"its build failed ({lines[0][:200].rstrip('.')})"


def make_build(asked: MakeBuild, is_free: threading.Event, report: Report) -> BuildReport:
    """Raises: ModelRefused; what the libraries raise."""
    request, folder = asked.request, Path(asked.folder)
    steps = build_trial.require_images(request)
    _require_options(request)
    report(BuildProgress("exporting"))
    make_private_folder(folder)
    parts = builds.key_parts(request, folder)
    unfinished = builds.start_build(folder)
    try:
        model = build_trial.as_torch(request)
        pipeline = load_pipeline(model, model_path(model), "cpu")
        name, module = _find_denoiser(request, pipeline)
        LoraManager(pipeline).apply(request.loras)
        _export(request, _fuse_loras(module) if request.loras else module, unfinished)
        if request.device != "cpu":
            pipeline.to(request.device)
        trial = BuildTrial(request, pipeline, name, is_free, report)
        measured = _try_build(request, trial, module, unfinished, steps)
        if builds.key_parts(request, folder) != parts:
            raise ModelRefused(request.model.name, "build", detail="its files were replaced while it was compiled")
        builds.finish_build(unfinished, request, parts, measured)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return measured


def _require_options(request: BuildRequest) -> None:
    """Raises: ModelRefused: the installed library lacks the precision or the providers."""
    options = graph_options(request.backend, request.model)
    try:
        graph_backend(request.backend).check_options(precision=request.precision, options=options)
    except RefusedOptions as refused:
        raise ModelRefused(request.model.name, "build", detail=str(refused).rstrip(".")) from refused


def _find_denoiser(request: BuildRequest, pipeline: Any) -> tuple[str, torch.nn.Module]:
    """Raises: ModelRefused: it has none, or one that has no compiled form."""
    name = denoiser_name(pipeline)
    if not name:
        raise ModelRefused(request.model.name, "build", detail="it has no denoiser to compile")
    module = getattr(pipeline, name)
    try:
        if graph_inputs_for(module) is not None:
            return name, module
        reason = f"its denoiser, a {type(module).__name__}, has no compiled form yet"
    except UnsupportedModule as unsupported:
        reason = str(unsupported)
    raise ModelRefused(request.model.name, "build", detail=reason)


def _fuse_loras(module: Any) -> torch.nn.Module:
    """A copy whose weights have its active LoRAs in them."""
    fused: Any = copy.deepcopy(module)
    fused.fuse_lora()
    fused.unload_lora()
    return fused


def _export(request: BuildRequest, module: torch.nn.Module, unfinished: Path) -> None:
    """Raises: ModelRefused: the disk is too small, or the backend has no such weights; what it raises."""
    need = DISK_COPIES * build_trial.weights_mb(module) * 2**20 + MIN_FREE_BYTES
    free = shutil.disk_usage(unfinished).free
    if free < need:
        detail = f"its build needs {need / 2**30:.1f} GiB on the disk, {free / 2**30:.1f} GiB are free"
        raise ModelRefused(request.model.name, "build", detail=detail)
    try:
        export_module(module, graph_backend(request.backend), unfinished, weights=request.weights)
    except ValueError as error:
        if request.weights == "none":
            raise
        raise ModelRefused(request.model.name, "build", detail=str(error).rstrip(".")) from error


def _try_build(
    request: BuildRequest, trial: BuildTrial, module: torch.nn.Module, unfinished: Path, steps: int
) -> BuildReport:
    trial.report(BuildProgress("compiling"))
    before_mb = build_trial.used_ram_mb()
    compiled = _open(request, module, unfinished)
    backend_mb = build_trial.used_ram_mb() - before_mb
    try:
        torch_images = trial.make_images(module)
        images = trial.make_images(compiled)
        served = module.to(_torch_dtype(request))
        speeds = trial.measure_speeds(served, compiled)
        return BuildReport(
            backend=request.backend,
            precision=request.precision,
            weights=request.weights,
            speeds=tuple(speeds),
            torch_mb=build_trial.weights_mb(served),
            backend_mb=max(0, backend_mb),
            disk_mb=-(-sum(path.stat().st_size for path in unfinished.rglob("*") if path.is_file()) // 2**20),
            levels=max(largest_difference(*pair) for pair in zip(torch_images, images, strict=True)),
            prompts=len(build_trial.PROMPTS),
            steps=steps,
            dtype=request.model.dtype,
            quantize=request.model.quantize,
        )
    finally:
        compiled.close()


def _torch_dtype(request: BuildRequest) -> torch.dtype:
    """Raises: ModelUnavailable: it is none."""
    return dtype_for(replace(request.model, dtype=request.torch_dtype or request.model.dtype), request.device)


def _open(request: BuildRequest, module: torch.nn.Module, unfinished: Path) -> CompiledModule:
    """The compiled module, with the memory allocated that its first call needs."""
    rule = graph_inputs_for(module)
    assert rule is not None
    graph: CompiledGraph = graph_backend(request.backend).open(
        unfinished,
        threads=torch.get_num_threads(),
        precision=request.precision,
        cache=None,
        options=graph_options(request.backend, request.model),
    )
    graph.run(rule.example())
    return CompiledModule(module, rule, graph, backend=request.backend, precision=request.precision)
