"""Computes the parts of a forward pass at the same time, each in a thread with its share of the cores.

Only forward calls run in these threads, all of one module in one state: rows that share a pass have the same LoRAs,
tiling and number format, and nothing changes the module before all parts have ended. Pipelines stay in the caller's
thread. torch releases the interpreter's lock while it computes.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import torch

from inference.diffusion.sequence import ImageSequence
from inference.engine.error_mapping import is_out_of_memory

_HOOKS = ("_hf_hook", "_diffusers_hook")
"""Attributes of modules whose weights are moved or cast around each call, as offloading and fp8 storage do."""


class PassThreads:
    """`threads`: of the whole pass."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._executor: ThreadPoolExecutor | None = None

    def run(self, calls: Sequence[Callable[[], Any]], threads: int) -> list[Any]:
        """The results of the calls, each made by this many threads. Raises: the first error, once all have ended."""
        try:
            if len(calls) == 1:
                return [_run_with(threads, calls[0])]
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix="pass")
            futures = [self._executor.submit(_run_with, threads, call) for call in calls]
            wait(futures)
            return _results_of(futures)
        finally:
            torch.set_num_threads(self.threads)  # some of torch's libraries have one number for all threads

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown()


def _results_of(futures: "Sequence[Future[Any]]") -> list[Any]:
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise next((error for error in errors if is_out_of_memory(error)), errors[0])
    return [future.result() for future in futures]


@torch.no_grad()
def _run_with(threads: int, call: Callable[[], Any]) -> Any:
    torch.set_num_threads(threads)
    return call()


def divide_batch(batch: Sequence[ImageSequence], parts: int) -> list[list[int]]:
    """The batch's indices in parts of about the same size; none is empty if there are enough sequences."""
    divided: list[list[int]] = [[] for _ in range(min(parts, len(batch)))]
    tokens = [0] * len(divided)
    for index in sorted(range(len(batch)), key=lambda index: -batch[index].tokens):
        part = tokens.index(min(tokens))
        divided[part].append(index)
        tokens[part] += batch[index].tokens
    return divided


def is_divisible(module: torch.nn.Module) -> bool:
    """Whether several calls of the module can be made at the same time."""
    return not any(name in part.__dict__ for part in module.modules() for name in _HOOKS)
