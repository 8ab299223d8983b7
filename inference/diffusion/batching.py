"""Batching rules: merge the denoiser calls of several sequences into one forward pass and split its output again.

The generic rule fits every denoiser whose tensors have the batch as their first dimension: tensors of the batch's
length are concatenated, a scalar timestep is expanded, and all other arguments must be equal. A family that differs
has its own `BatchingRule`. Only denoisers named in `BATCHING_RULES` are batched; others are called one at a time.
"""

import hashlib
import inspect
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import torch

from bot.models import TORCH
from bot.ports import LoraSet
from inference.backends.compiled_module import CompiledModule
from inference.diffusion.coroutines import ModuleCall
from inference.diffusion.reference_attention import merge_references

TIMESTEP_ARGUMENTS = frozenset({"timestep", "t"})
"""Arguments that hold the timestep: a single number in a call applies to each of its rows."""


class BatchingRule(Protocol):
    """How calls of one denoiser class share a forward pass."""

    def bind_arguments(self, call: ModuleCall) -> Mapping[str, Any]:
        """The call's arguments by name."""

    def count_rows(self, arguments: Mapping[str, Any]) -> int:
        """Batch rows of the call: 2 with classifier-free guidance, else 1."""

    def count_tokens(self, arguments: Mapping[str, Any]) -> int:
        """Cost of the call: latent cells (or patches) of all its rows, plus prompt tokens where they cost as much."""

    def batch_key(self, arguments: Mapping[str, Any]) -> Hashable:
        """Calls with the same key may share a forward pass."""

    def merge_calls(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The arguments of the shared forward pass."""

    def split_output(self, output: Any, rows: Sequence[int]) -> list[Any]:
        """Each call's part of the output."""


class GenericBatching:
    """The generic rule. `batch_argument`: the argument whose first dimension is the batch."""

    batch_argument = "sample"

    def __init__(self, module: torch.nn.Module) -> None:
        self._signature = inspect.signature(module.forward)

    def bind_arguments(self, call: ModuleCall) -> Mapping[str, Any]:
        return self._signature.bind(*call.args, **call.kwargs).arguments

    def count_rows(self, arguments: Mapping[str, Any]) -> int:
        return len(arguments[self.batch_argument])

    def count_tokens(self, arguments: Mapping[str, Any]) -> int:
        sample: torch.Tensor = arguments[self.batch_argument]
        return int(sample.shape[0] * sample[0, 0].numel())

    def batch_key(self, arguments: Mapping[str, Any]) -> Hashable:
        rows = self.count_rows(arguments)
        return tuple((name, self.argument_key(name, value, rows)) for name, value in sorted(arguments.items()))

    def argument_key(self, name: str, value: Any, rows: int) -> Hashable:
        """What must be equal in one argument."""
        if isinstance(value, torch.Tensor):
            if name in TIMESTEP_ARGUMENTS:
                return "timestep"
            if value.dim() and value.shape[0] == rows:
                return ("rows", tuple(value.shape[1:]), value.dtype, str(value.device))
            return ("equal", tuple(value.shape), tensor_digest(value))
        if isinstance(value, Mapping):
            return tuple((key, self.argument_key(key, inner, rows)) for key, inner in sorted(value.items()))
        if isinstance(value, list | tuple):
            return tuple(self.argument_key(name, inner, rows) for inner in value)
        return value if isinstance(value, Hashable) else ("unbatchable", id(value))

    def merge_calls(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        rows = [self.count_rows(call) for call in calls]
        return {name: self.merge_argument(name, [call[name] for call in calls], rows) for name in calls[0]}

    def merge_argument(self, name: str, values: Sequence[Any], rows: Sequence[int]) -> Any:
        """One argument of the shared forward pass."""
        first = values[0]
        if isinstance(first, torch.Tensor):
            if name in TIMESTEP_ARGUMENTS:
                return torch.cat([expand_timestep(value, count) for value, count in zip(values, rows, strict=True)])
            if first.dim() and first.shape[0] == rows[0]:
                return torch.cat(list(values))
        elif isinstance(first, Mapping):
            return {key: self.merge_argument(key, [value[key] for value in values], rows) for key in first}
        elif isinstance(first, list | tuple):
            items = [self.merge_argument(name, list(inner), rows) for inner in zip(*values, strict=True)]
            return type(first)(items)
        return first

    def split_output(self, output: Any, rows: Sequence[int]) -> list[Any]:
        """Raises: TypeError: the output is neither a tensor nor a tuple or list of them."""
        return split_output(output, rows)


class UNetBatching(GenericBatching):
    """Stable Diffusion 1.x, 2.x and XL. Added conditions (sizes, pooled embeddings) are concatenated like the rest.

    Rows with and without the residuals of controls share passes: a row without them gets zeros, which changes nothing.
    So do rows with and without references; those without need nothing.
    """

    def batch_key(self, arguments: Mapping[str, Any]) -> Hashable:
        return super().batch_key({name: value for name, value in arguments.items() if not _is_optional(name, value)})

    def merge_calls(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        common = [{name: value for name, value in call.items() if not _is_optional(name, value)} for call in calls]
        rows = [self.count_rows(call) for call in calls]
        residuals = {name: merge_residuals([call.get(name) for call in calls], rows) for name in RESIDUALS}
        references = {REFERENCES: merge_references([call.get(REFERENCES) for call in calls], rows)}
        added = {name: value for name, value in (residuals | references).items() if value is not None}
        return super().merge_calls(common) | added


RESIDUALS = (
    "down_block_additional_residuals",
    "mid_block_additional_residual",
    "down_intrablock_additional_residuals",
)
"""Arguments with what ControlNets (the first two) and T2I-Adapters add to a UNet's layers."""
REFERENCES = "cross_attention_kwargs"
"""The argument with the references of each row."""


def _is_optional(name: str, value: Any) -> bool:
    """Whether calls with and without this argument may share a pass."""
    return name in (*RESIDUALS, REFERENCES) or value is None


def merge_residuals(values: Sequence[Any], rows: Sequence[int]) -> Any:
    """The residuals of all rows, with zeros for calls that have none; None: no call has any.

    A new list each time, because the UNet removes the residuals of T2I-Adapters from theirs.
    """
    example = next((value for value in values if value is not None), None)
    if example is None:
        return None
    if isinstance(example, torch.Tensor):
        parts = (
            example.new_zeros((count, *example.shape[1:])) if value is None else value
            for value, count in zip(values, rows, strict=True)
        )
        return torch.cat(list(parts))
    return [
        merge_residuals([None if value is None else value[layer] for value in values], rows)
        for layer in range(len(example))
    ]


class ControlNetBatching(GenericBatching):
    """ControlNets of Stable Diffusion; their output is a list of residuals and one more."""


class FusedModules(Protocol):
    def get(self, loras: LoraSet) -> CompiledModule | None:
        """The compiled module with exactly these LoRAs; None: there is none."""

    def close(self) -> None:
        """Free their memory."""


@dataclass(frozen=True, eq=False)
class BatchedModule:
    """A module whose calls of several images may share forward passes; without a rule they are made one at a time.

    Attributes:
        uses_denoiser: it is a control that computes with layers of the denoiser too, which LoRAs change.
        compiled: makes those of its calls that a graph can compute.
        fused: makes those of some sets of LoRAs.
    """

    module: torch.nn.Module
    rule: BatchingRule | None
    uses_denoiser: bool = False
    compiled: CompiledModule | None = None
    fused: FusedModules | None = None

    def usual_backend(self, loras: LoraSet) -> str:
        """What makes calls with these LoRAs that have nothing else which the graph lacks."""
        compiled = self.graph_with(loras)
        return TORCH if compiled is None else compiled.backend

    def backend_for(self, call: ModuleCall, arguments: Mapping[str, Any], loras: LoraSet) -> str:
        """What makes this call: "torch" where the graph lacks something that the call has, such as its LoRAs."""
        compiled = self.graph_with(loras)
        if compiled is None or call.is_tiled or not compiled.takes(arguments):
            return TORCH
        return compiled.backend

    def module_for(self, backend: str, loras: LoraSet = ()) -> torch.nn.Module | None:
        """What computes calls of this backend with these LoRAs; torch's weights are loaded if they were released.

        None: the build was closed or has failed, so torch has to compute them.
        """
        if self.compiled is None:
            return self.module
        return self.compiled.original if backend == TORCH else self.graph_with(loras)

    def graph_with(self, loras: LoraSet) -> CompiledModule | None:
        """The compiled module with exactly these LoRAs; None: there is none, or it has failed."""
        found = self.compiled if not loras else self.fused.get(loras) if self.fused is not None else None
        return None if found is None or found.has_failed else found

    def restore_weights(self) -> None:
        """Load the torch module's weights if they were released, before something reads or changes them."""
        if self.compiled is not None:
            self.compiled.restore_original()


BATCHING_RULES: Mapping[str, str] = {
    "UNet2DConditionModel": "inference.diffusion.batching:UNetBatching",
    "Flux2Transformer2DModel": "inference.diffusion.batching_flow:Flux2Batching",
    "Flux3Transformer2DModel": "inference.diffusion.batching_flow:Flux2Batching",
    "Krea2Transformer2DModel": "inference.diffusion.batching_flow:Flux2Batching",
    "QwenImageTransformer2DModel": "inference.diffusion.batching_padded:QwenImageBatching",
    "QwenImage21Transformer2DModel": "inference.diffusion.batching_prefix:QwenImage21Batching",
    "ErnieImageTransformer2DModel": "inference.diffusion.batching_padded:ErnieImageBatching",
    "ZImageTransformer2DModel": "inference.diffusion.batching_flow:ZImageBatching",
    "ControlNetModel": "inference.diffusion.batching:ControlNetBatching",
    "ControlNetUnionModel": "inference.diffusion.batching:ControlNetBatching",
    "ZImageControlNetModel": "inference.diffusion.batching_flow:ZImageControlBatching",
}
"""Import paths by the class names of denoisers and control models."""


def batching_rule_for(module: torch.nn.Module) -> BatchingRule | None:
    """The rule for this denoiser or control model; None: its calls are not batched."""
    path = BATCHING_RULES.get(type(module).__name__)
    if path is None:
        return None
    source, _, name = path.partition(":")
    rule: BatchingRule = getattr(import_module(source), name)(module)
    return rule


def expand_timestep(value: torch.Tensor, rows: int) -> torch.Tensor:
    """The timestep of each row, (rows,), from one for all rows or one per row."""
    return value.reshape(-1).expand(rows) if value.numel() == 1 else value


def pad_tokens(states: torch.Tensor, length: int) -> torch.Tensor:
    """(rows, tokens, ...) with zeros up to this many tokens."""
    missing = length - states.shape[1]
    return (
        torch.cat([states, states.new_zeros((len(states), missing, *states.shape[2:]))], dim=1) if missing else states
    )


def tensor_digest(value: torch.Tensor) -> str:
    """SHA-256 of a tensor's values."""
    return hashlib.sha256(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()


def split_output(output: Any, rows: Sequence[int]) -> list[Any]:
    """Split the output along its first dimension; tuples and lists of tensors element by element.

    Raises: TypeError: it is neither a tensor nor a tuple or list of them.
    """
    if isinstance(output, torch.Tensor):
        return list(output.split(list(rows)))
    if isinstance(output, tuple | list):
        return [type(output)(pieces) for pieces in zip(*(split_output(piece, rows) for piece in output), strict=True)]
    raise TypeError(f"the model returned a {type(output).__name__}")
