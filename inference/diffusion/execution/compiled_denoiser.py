"""Opens the compiled denoiser of a model that asks for one. Where that is impossible, torch serves on, and says why.

A build in half precision or with 8-bit weights computes beside a pipeline in float32: the rest of it takes little time,
and rounding its latents, prompts and decodes as well would change images much more.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bot.errors import OutOfMemory
from bot.memory.fit import format_gib
from bot.memory.weights import EIGHT_BIT, FOUR_BIT, FP8
from bot.models import TORCH, ModelSpec
from inference.backends.builds import find_build
from inference.backends.compiled_module import CompiledModule
from inference.backends.graph import CompiledGraph, RefusedOptions, graph_backend, graph_options
from inference.backends.graph_inputs import GraphInputs, UnsupportedModule, graph_inputs_for
from inference.diffusion.loader import load_denoiser
from inference.ipc import child
from inference.memory.offload import offloader_of
from inference.memory.planner import free_ram_mb
from inference.memory.precision import dtype_for, dtype_name

NOT_INSTALLED, NOT_BUILT, NOT_HERE = "not_installed", "not_built", "not_here"
UNSUPPORTED, REFUSED, DAMAGED, FAILED = "unsupported", "refused", "damaged", "failed"
"""Why torch computes instead: the library or the build is missing, the device or the denoiser has no such form, the
library lacks the number format or providers, the build cannot be opened, or it failed a call."""


@dataclass(frozen=True)
class FoundDenoiser:
    """What a model's denoiser will run on, before the model is loaded.

    Attributes:
        model: as it is to be loaded.
        precision: what the build computes in.
        build: its folder; None: torch computes everything, which `problem` explains unless the model asks for torch.
    """

    model: ModelSpec
    precision: str = ""
    build: Path | None = None
    problem: str = ""


@dataclass(frozen=True)
class OpenedDenoiser:
    """`compiled`: None where torch computes everything, which `problem` explains unless the model asks for torch."""

    compiled: CompiledModule | None = None
    problem: str = ""

    @property
    def backend(self) -> str:
        return self.compiled.backend if self.compiled is not None else TORCH

    @property
    def precision(self) -> str:
        """What the build computes in; empty: there is none."""
        return self.compiled.precision if self.compiled is not None else ""


def find_denoiser(model: ModelSpec, device: str) -> FoundDenoiser:
    """Look for the build of a model that asks for a backend. Raises: ModelUnavailable: its dtype is unknown."""
    if model.backend == TORCH:
        return FoundDenoiser(model)
    precision = graph_precision(model, device)
    is_on_cpu = torch.device(device).type == "cpu"
    if not is_on_cpu and model.backend == "openvino":
        return FoundDenoiser(model, problem=NOT_HERE)
    if not graph_backend(model.backend).is_installed():
        return FoundDenoiser(_without_build(model) if is_on_cpu else model, problem=NOT_INSTALLED)
    if model.quantize in (FP8, FOUR_BIT):  # no build has these
        return FoundDenoiser(model, problem=REFUSED)
    build = find_build(model, precision)
    if build is None:
        return FoundDenoiser(_without_build(model) if is_on_cpu else model, problem=NOT_BUILT)
    return FoundDenoiser(_beside_build(model) if is_on_cpu else model, precision, build)


def _beside_build(model: ModelSpec) -> ModelSpec:
    """The model to load on the CPU: in full precision if it fits, whatever the build computes in."""
    return replace(model, dtype="auto", quantize="auto")


def _without_build(model: ModelSpec) -> ModelSpec:
    """The model to load on the CPU instead: 8 bits were chosen for the build, and torch would need another library."""
    return replace(model, quantize="auto") if model.quantize == EIGHT_BIT else model


def graph_precision(model: ModelSpec, device: str) -> str:
    """What the model's build computes in: float32 unless its `dtype` asks for another format."""
    return "float32" if model.dtype == "auto" else dtype_name(dtype_for(model, device))


def open_denoiser(found: FoundDenoiser, folder: Path, pipeline: Any, name: str, device: str) -> OpenedDenoiser:
    """Open the build, and release the weights of the torch denoiser if the memory plan has no room for both.

    `folder`: the model's; `name`: of the loaded pipeline's denoiser.
    """
    module, problem = getattr(pipeline, name, None), found.problem
    if module is None:
        return OpenedDenoiser()
    if found.build is not None:
        rule = _rule_for(module)
        if rule is None:
            problem = UNSUPPORTED
        else:
            opened = _open(found, rule, module, _reload(found.model, folder, module, name, device))
            offloader = offloader_of(pipeline)
            if opened.compiled is not None and offloader is not None and not offloader.keeps_original:
                opened.compiled.release_original()
            return opened
    if problem:
        _log(found, problem)
    return OpenedDenoiser(problem=problem)


def _log(found: FoundDenoiser, problem: str, error: str = "") -> None:
    name = found.model.name
    child.log("warning", "The model runs on torch, not on its backend", model=name, problem=problem, error=error)


def _rule_for(module: torch.nn.Module) -> GraphInputs | None:
    try:
        return graph_inputs_for(module)
    except UnsupportedModule:
        return None


def _open(
    found: FoundDenoiser, rule: GraphInputs, module: torch.nn.Module, reload: Callable[[], torch.nn.Module]
) -> OpenedDenoiser:
    assert found.build is not None
    try:
        graph = open_graph(found, found.build)
    except Exception as error:  # the libraries raise many types for a damaged file
        problem = REFUSED if isinstance(error, RefusedOptions) else DAMAGED
        _log(found, problem, str(error)[:500])
        return OpenedDenoiser(problem=problem)
    backend = found.model.backend
    return OpenedDenoiser(
        CompiledModule(module, rule, graph, backend=backend, precision=found.precision, reload=reload)
    )


def open_graph(found: FoundDenoiser, build: Path) -> CompiledGraph:
    """Raises: many types, for a damaged build."""
    return graph_backend(found.model.backend).open(
        build,
        threads=torch.get_num_threads(),
        precision=found.precision,
        cache=build / "cache",
        options=graph_options(found.model.backend, found.model),
    )


def _reload(
    model: ModelSpec, folder: Path, module: torch.nn.Module, name: str, device: str
) -> Callable[[], torch.nn.Module]:
    kind, dtype = type(module), module.dtype
    size_mb = -(-sum(one.numel() * one.element_size() for one in module.parameters()) // 2**20)

    def load() -> torch.nn.Module:
        free_mb = free_ram_mb()
        if free_mb < size_mb:
            detail = f"what its build cannot compute needs {format_gib(size_mb)} of RAM, {format_gib(free_mb)} are free"
            raise OutOfMemory(detail)
        loaded: torch.nn.Module = load_denoiser(model, folder, device, name, kind, dtype)
        return loaded

    return load
