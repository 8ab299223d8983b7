"""How the calls of a torch module become inputs of a graph: one rule for each class of module.

A rule wraps the module so that it takes positional tensors, and turns a call's arguments into these tensors. A call
that the graph cannot compute is refused, and then made by the torch module.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

import torch

from inference.backends.graph import DynamicAxes


class GraphInputs(Protocol):
    """The rule of one module."""

    def wrapper(self, module: torch.nn.Module) -> torch.nn.Module:
        """A module that takes the graph's inputs and returns its outputs, all positional float32 tensors."""

    def example(self) -> Sequence[torch.Tensor]:
        """Inputs to trace the wrapper with."""

    def dynamic(self) -> Sequence[DynamicAxes]:
        """The axes of each input whose length may differ from call to call."""

    def takes(self, arguments: Mapping[str, Any]) -> bool:
        """Whether the graph computes calls with these arguments, by name."""

    def to_inputs(self, arguments: Mapping[str, Any]) -> Sequence[torch.Tensor] | None:
        """The graph's inputs, on the CPU; None: the graph cannot compute this call."""

    def to_output(self, outputs: Sequence[torch.Tensor], arguments: Mapping[str, Any]) -> Any:
        """What the module would have returned, in the number format and on the device of the arguments."""


GRAPH_INPUTS: Mapping[str, str] = {
    "UNet2DConditionModel": "inference.backends.unet_inputs:UNetInputs",
    "Flux2Transformer2DModel": "inference.backends.flux2_inputs:Flux2Inputs",
    "ZImageTransformer2DModel": "inference.backends.z_image_inputs:ZImageInputs",
}
"""Import paths by the class names of Diffusers and Transformers."""


class UnsupportedModule(Exception):
    """The rule of its class has no graph for this module: the message says why."""


def graph_inputs_for(module: torch.nn.Module) -> GraphInputs | None:
    """The rule for a module; None: its class has none. Raises: UnsupportedModule."""
    path = GRAPH_INPUTS.get(type(module).__name__)
    if path is None:
        return None
    source, _, name = path.partition(":")
    rule: GraphInputs = getattr(import_module(source), name)(module)
    return rule


def plain_tensor(value: torch.Tensor) -> torch.Tensor:
    """As a graph takes it: in float32, on the CPU, without gaps."""
    return value.detach().to("cpu", torch.float32).contiguous()
