"""What a backend is: it exports a torch module as a graph, and opens such a graph to compute it.

Graphs take and return float32, whatever they compute in. This module imports neither OpenVINO nor ONNX Runtime; a
backend's own module imports its library inside of functions.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch

from bot.models import ModelSpec

GRAPH_BACKENDS: Mapping[str, str] = {
    "openvino": "inference.backends.openvino_backend:OpenVinoBackend",
    "onnx": "inference.backends.onnx_backend:OnnxBackend",
}
"""Import paths by the values of `ModelSpec.backend`; "torch" is none of them."""


class RefusedOptions(ValueError):
    """The installed library cannot compute a graph in this precision or on these devices: the message is a sentence."""


DynamicAxes = Mapping[int, str]
"""Names of the axes of one input whose length may differ from call to call, by number."""


class CompiledGraph(Protocol):
    """An opened graph. Several threads may run it."""

    def run(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Compute the outputs. The inputs are on the CPU; the outputs are the caller's."""

    def close(self) -> None:
        """Free its memory."""


class GraphBackend(Protocol):
    """A library that computes graphs."""

    name: str

    def is_installed(self) -> bool:
        """Whether its library can be imported; does not import it."""

    def check_options(self, *, precision: str, options: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Check that the installed library can compute so. Raises: RefusedOptions."""

    def export(
        self,
        wrapper: torch.nn.Module,
        example: Sequence[torch.Tensor],
        dynamic: Sequence[DynamicAxes],
        folder: Path,
        *,
        weights: str,
    ) -> None:
        """Write the graph of a module with positional tensors into the folder.

        Args:
            example: one call's inputs, to trace the module with.
            dynamic: the axes of each input that may differ from the example's.
            weights: as `ModelSpec.quantize`: "none" keeps float32.

        Raises: ValueError: the backend has no such weights.
        """

    def open(
        self,
        folder: Path,
        *,
        threads: int,
        precision: str,
        cache: Path | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> CompiledGraph:
        """Open a graph that `export` wrote.

        Args:
            threads: of one run, at most; 0: the library's choice.
            precision: what it computes in: "float32", "bfloat16" or "float16".
            cache: a folder for what the library compiles, which makes the next opening quicker.
            options: of the backend, such as ONNX Runtime's providers.

        Raises: RefusedOptions; what the library raises for a damaged build.
        """


def graph_backend(name: str) -> GraphBackend:
    """The backend of this name. Raises: KeyError: there is none."""
    source, _, class_name = GRAPH_BACKENDS[name].partition(":")
    found: GraphBackend = getattr(import_module(source), class_name)()
    return found


def graph_options(backend: str, model: ModelSpec) -> Mapping[str, Any]:
    """The options that the graph of a model is opened with."""
    if backend != "onnx":
        return {}
    sizes = dict.fromkeys([(model.width, model.height), (model.max_size, model.max_size)])
    return {"providers": model.providers, "sizes": tuple(sizes)}
