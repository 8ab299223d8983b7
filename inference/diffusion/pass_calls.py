"""The calls of one pass: those of several sequences merged into one, and the part of each in its output."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from inference.diffusion.batching import REFERENCES, BatchedModule
from inference.diffusion.coroutines import ModuleCall
from inference.diffusion.sequence import ImageSequence


def prepare_call(called: BatchedModule, module: torch.nn.Module, batch: Sequence[ImageSequence]) -> Callable[[], Any]:
    """The module's call for these sequences."""
    if len(batch) == 1 or called.rule is None:
        calls = [_copy_lists(pending_call(sequence)) for sequence in batch]
        return lambda: [call.execute(module) for call in calls]
    merged = called.rule.merge_calls([sequence.call_arguments for sequence in batch])
    return lambda: module(**merged)


def split_outputs(called: BatchedModule, output: Any, batch: Sequence[ImageSequence]) -> list[Any]:
    """The part of each sequence in the output of their call."""
    if len(batch) == 1 or called.rule is None:
        return list(output)
    return called.rule.split_output(output, [sequence.rows for sequence in batch])


def _copy_lists(call: ModuleCall) -> ModuleCall:
    """UNets remove a T2I-Adapter's residuals from the list that they get."""
    return replace(
        call, kwargs={name: list(value) if isinstance(value, list) else value for name, value in call.kwargs.items()}
    )


def is_plain(batch: Sequence[ImageSequence]) -> bool:
    """Whether no image of the pass has LoRAs or references."""
    return not batch[0].loras and not any(pending_call(one).kwargs.get(REFERENCES) for one in batch)


def pending_call(sequence: ImageSequence) -> ModuleCall:
    assert sequence.pending_call is not None
    return sequence.pending_call
