"""Opens the compiled denoiser of a model that asks for one. Where that is impossible, torch serves on, and says why."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bot.models import ModelSpec
from inference.backends.builds import find_build
from inference.backends.compiled_module import CompiledModule
from inference.backends.graph import GraphBackend, graph_backend
from inference.backends.graph_inputs import GraphInputs, UnsupportedModule, graph_inputs_for
from inference.diffusion.batching import TORCH
from inference.diffusion.loader import load_denoiser
from inference.ipc import child
from inference.memory.offload import offloader_of
from inference.memory.precision import dtype_name

NOT_INSTALLED, NOT_BUILT, NOT_HERE = "not_installed", "not_built", "not_here"
UNSUPPORTED, DAMAGED = "unsupported", "damaged"
"""Why torch computes instead: the library or the build is missing, the device or the denoiser has no such form, or the
build cannot be opened."""


@dataclass(frozen=True)
class OpenedDenoiser:
    """`compiled`: None where torch computes everything, which `problem` explains; "": the model asks for torch."""

    compiled: CompiledModule | None = None
    problem: str = ""

    @property
    def backend(self) -> str:
        return self.compiled.backend if self.compiled is not None else TORCH


def open_denoiser(model: ModelSpec, folder: Path, pipeline: Any, name: str, device: str) -> OpenedDenoiser:
    """`folder`: the model's; `name`: of the pipeline's denoiser.

    The weights of the torch denoiser are released before, if the memory plan has no room for both.
    """
    module = getattr(pipeline, name, None)
    if model.backend == TORCH or module is None:
        return OpenedDenoiser()
    backend, problem = graph_backend(model.backend), ""
    rule, build = _rule_for(module), find_build(model, dtype_name(module.dtype))
    if torch.device(device).type != "cpu" and model.backend == "openvino":
        problem = NOT_HERE
    elif not backend.is_installed():
        problem = NOT_INSTALLED
    elif rule is None:
        problem = UNSUPPORTED
    elif build is None:
        problem = NOT_BUILT
    else:
        reload = _reload(model, folder, pipeline, name, device)
        opened = _open(model, module, rule, build, backend, reload, keeps_original=_keeps_original(pipeline))
        if opened is not None:
            return OpenedDenoiser(opened)
        problem = DAMAGED
    child.log("warning", "The model runs on torch instead of its backend", model=model.name, problem=problem)
    return OpenedDenoiser(problem=problem)


def _rule_for(module: torch.nn.Module) -> GraphInputs | None:
    try:
        return graph_inputs_for(module)
    except UnsupportedModule:
        return None


def _open(
    model: ModelSpec,
    module: torch.nn.Module,
    rule: GraphInputs,
    build: Path,
    backend: GraphBackend,
    reload: Callable[[], torch.nn.Module],
    *,
    keeps_original: bool,
) -> CompiledModule | None:
    """None: the build cannot be opened."""
    precision = dtype_name(module.dtype)
    try:
        graph = backend.open(
            build,
            threads=torch.get_num_threads(),
            precision=precision,
            cache=build / "cache",
            options={"providers": model.providers} if model.providers else {},
        )
    except Exception as error:  # the libraries raise many types for a damaged file
        child.log("warning", "A build cannot be opened", model=model.name, error=str(error)[:500])
        return None
    compiled = CompiledModule(module, rule, graph, backend=backend.name, precision=precision, reload=reload)
    if not keeps_original:
        compiled.release_original()
    return compiled


def _keeps_original(pipeline: Any) -> bool:
    offloader = offloader_of(pipeline)
    return offloader is None or offloader.keeps_original


def _reload(model: ModelSpec, folder: Path, pipeline: Any, name: str, device: str) -> Callable[[], torch.nn.Module]:
    kind, dtype = type(getattr(pipeline, name)), getattr(pipeline, name).dtype
    return lambda: load_denoiser(model, folder, device, name, kind, dtype)
