"""Makes one forward pass of several rows' calls of a denoiser, and gives each row its part of the output.

The generic rule suits every denoiser whose batch is the first dimension of its tensors: those with the batch's length
are joined, a timestep without a dimension is repeated, and whatever else there is must be equal. A family that is
different says so in a `Merge` of its own. Only denoisers named in `MERGES` are merged; others are called one at a time.
"""

import hashlib
import inspect
from collections.abc import Hashable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

import torch

from inference.diffusion.coroutines import Call

TIMES = frozenset({"timestep", "t"})
"""Arguments that say how noisy a row is: one number for a call is one number for each of its rows."""


class Merge(Protocol):
    """How calls of one kind of denoiser share a pass."""

    def arguments(self, call: Call) -> Mapping[str, Any]:
        """The call's arguments by name."""

    def rows(self, arguments: Mapping[str, Any]) -> int:
        """How many rows of the batch the call is: 2 with classifier-free guidance, else 1."""

    def tokens(self, arguments: Mapping[str, Any]) -> int:
        """What the call costs: latent cells (or patches) of all its rows, and words where they are as dear."""

    def key(self, arguments: Mapping[str, Any]) -> Hashable:
        """Calls with the same key may share a pass."""

    def join(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The arguments of the pass."""

    def split(self, output: Any, rows: Sequence[int]) -> list[Any]:
        """Each call's part of the output."""


class ByBatch:
    """The generic rule. `main` is the argument whose first dimension is the batch."""

    main = "sample"

    def __init__(self, module: torch.nn.Module) -> None:
        self._signature = inspect.signature(module.forward)

    def arguments(self, call: Call) -> Mapping[str, Any]:
        return self._signature.bind(*call.args, **call.kwargs).arguments

    def rows(self, arguments: Mapping[str, Any]) -> int:
        return len(arguments[self.main])

    def tokens(self, arguments: Mapping[str, Any]) -> int:
        sample: torch.Tensor = arguments[self.main]
        return int(sample.shape[0] * sample[0, 0].numel())

    def key(self, arguments: Mapping[str, Any]) -> Hashable:
        rows = self.rows(arguments)
        return tuple((name, self.part_of_key(name, value, rows)) for name, value in sorted(arguments.items()))

    def part_of_key(self, name: str, value: Any, rows: int) -> Hashable:
        """What must be equal for one argument."""
        if isinstance(value, torch.Tensor):
            if name in TIMES:
                return "times"
            if value.dim() and value.shape[0] == rows:
                return ("rows", tuple(value.shape[1:]), value.dtype, str(value.device))
            return ("same", tuple(value.shape), digest(value))
        if isinstance(value, Mapping):
            return tuple((key, self.part_of_key(key, inner, rows)) for key, inner in sorted(value.items()))
        if isinstance(value, list | tuple):
            return tuple(self.part_of_key(name, inner, rows) for inner in value)
        return value if isinstance(value, Hashable) else ("alone", id(value))

    def join(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        rows = [self.rows(call) for call in calls]
        return {name: self.joined(name, [call[name] for call in calls], rows) for name in calls[0]}

    def joined(self, name: str, values: Sequence[Any], rows: Sequence[int]) -> Any:
        """One argument of the pass."""
        first = values[0]
        if isinstance(first, torch.Tensor):
            if name in TIMES:
                return torch.cat([each(value, count) for value, count in zip(values, rows, strict=True)])
            if first.dim() and first.shape[0] == rows[0]:
                return torch.cat(list(values))
        elif isinstance(first, Mapping):
            return {key: self.joined(key, [value[key] for value in values], rows) for key in first}
        elif isinstance(first, list | tuple):
            parts = [self.joined(name, list(inner), rows) for inner in zip(*values, strict=True)]
            return type(first)(parts)
        return first

    def split(self, output: Any, rows: Sequence[int]) -> list[Any]:
        """Raises: TypeError: the output is neither a tensor nor a tuple or list of them."""
        return parts(output, rows)


class OfUNet(ByBatch):
    """Stable Diffusion 1.x, 2.x and XL. Added conditions (sizes, pooled texts) are joined like everything else."""


MERGES: Mapping[str, str] = {
    "UNet2DConditionModel": "inference.diffusion.batching:OfUNet",
    "Flux2Transformer2DModel": "inference.diffusion.batching_flow:OfFlux2",
    "ZImageTransformer2DModel": "inference.diffusion.batching_flow:OfZImage",
}
"""Import paths by the denoiser's class name."""


def merge_for(denoiser: torch.nn.Module) -> Merge | None:
    """How this denoiser's calls are merged; None: they are not."""
    path = MERGES.get(type(denoiser).__name__)
    if path is None:
        return None
    module, _, name = path.partition(":")
    merge: Merge = getattr(import_module(module), name)(denoiser)
    return merge


def each(value: torch.Tensor, rows: int) -> torch.Tensor:
    """The timestep of each row, (rows,), of one for all of them or of one each."""
    return value.reshape(-1).expand(rows) if value.numel() == 1 else value


def digest(value: torch.Tensor) -> str:
    """Names a tensor by its values."""
    return hashlib.sha256(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()


def parts(output: Any, rows: Sequence[int]) -> list[Any]:
    """The output cut along its first dimension, tuples and lists of tensors piece by piece.

    Raises: TypeError: it is neither a tensor nor a tuple or list of them.
    """
    if isinstance(output, torch.Tensor):
        return list(output.split(list(rows)))
    if isinstance(output, tuple | list):
        return [type(output)(pieces) for pieces in zip(*(parts(piece, rows) for piece in output), strict=True)]
    raise TypeError(f"a model gave a {type(output).__name__}")
