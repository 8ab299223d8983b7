"""Calls of an image model's denoiser, as its own pipeline makes them.

For each prompt the pipeline is run up to the first call of its denoiser, whose arguments are kept: embeddings, sizes,
positions, whatever the family has. Training then repeats the call with other latents and another time. So text encoders
run once per prompt, and training needs no code of their own for each family.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from inference.diffusion.batching import BatchingRule, GenericBatching, batching_rule_for
from inference.diffusion.coroutines import ModuleCall
from inference.learning.image_families import ImageFamily

Arguments = Mapping[str, Any]


class _Recorded(BaseException):
    """Ends the pipeline at its denoiser's first call. No `Exception`, which pipelines may catch."""


class DenoiserCalls:
    """`run`: runs the pipeline for a prompt, without guidance."""

    def __init__(self, module: torch.nn.Module, family: ImageFamily, run: Callable[[str], object]) -> None:
        self.module = module
        self.family = family
        self._dtype = module.dtype  # before there is an adapter, which is float32
        self._run = run
        self._rule = batching_rule_for(module) or _make_rule(module, family)

    def record(self, prompt: str) -> Arguments:
        """The arguments of the first call for this prompt, one row."""
        recorded: list[ModuleCall] = []

        def record(*args: Any, **kwargs: Any) -> None:
            recorded.append(ModuleCall("denoiser", "forward", args, kwargs))
            raise _Recorded

        with _replaced_forward(self.module, record), suppress(_Recorded):
            self._run(prompt)
        return _detach(self._rule.bind_arguments(recorded[0]))

    def predict(self, calls: Sequence[Arguments], noisy: Tensor, times: Tensor) -> Tensor:
        """The denoiser's output for each row of `noisy`, in float32; rows whose calls fit share a forward pass.

        Args:
            times: as the denoiser counts them, (rows,).
        """
        noisy = noisy.to(self._dtype)
        placed = [
            {**call, **self.family.place(noisy[row : row + 1], times[row : row + 1])} for row, call in enumerate(calls)
        ]
        outputs: dict[int, Tensor] = {}
        for rows in _group(self._rule, placed):
            merged = placed[rows[0]] if len(rows) == 1 else self._rule.merge_calls([placed[row] for row in rows])
            found = self.family.read_output(self.module(**merged), len(rows), noisy[rows])
            outputs.update(zip(rows, found, strict=True))
        return torch.stack([outputs[row] for row in range(len(calls))]).float()


def _make_rule(module: torch.nn.Module, family: ImageFamily) -> GenericBatching:
    rule = GenericBatching(module)
    rule.batch_argument = family.latents
    return rule


def _group(rule: BatchingRule, calls: Sequence[Arguments]) -> Iterator[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for row, call in enumerate(calls):
        groups.setdefault(rule.batch_key(call), []).append(row)
    yield from groups.values()


@contextmanager
def _replaced_forward(module: torch.nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    own = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


def _detach(value: Any) -> Any:
    """Without the graph, and in ordinary containers: pipelines record under `inference_mode` or `no_grad`."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: _detach(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_detach(one) for one in value)
    return value
