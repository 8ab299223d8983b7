"""Which texts start next, and what device time is charged to whom; shared by the engines that answer in text."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

from inference.engine.base import CostSample
from inference.engine.cost_model import PassCostModel
from inference.engine.pass_counts import PassCounts
from inference.vision.generation_plan import TextSpec
from inference.vision.request import VisionRequest

Request = TypeVar("Request", bound=VisionRequest)
NewText: TypeAlias = tuple[Request, int, TextSpec]
"""A text that starts: its request, its index in the request's round, and what to generate."""


def take_new_texts(
    requests: Sequence[Request],
    running: Sequence[str],
    *,
    max_sequences: int,
    max_new: int,
    is_search: Callable[[TextSpec], bool],
    is_searching: bool,
) -> list[NewText[Request]]:
    """The texts that start in this step, taken from their requests. Tasks without a running text come first; only one
    search runs at a time.

    Args:
        running: the task of each running text.
    """
    counts = list(running)
    new_texts: list[NewText[Request]] = []
    while len(new_texts) < max_new:
        ready = [one for one in requests if one.pending and not (is_searching and is_search(one.pending[0][1]))]
        if not ready:
            break
        request = min(ready, key=lambda one: counts.count(one.task.id))
        if counts.count(request.task.id) and len(counts) >= max_sequences:
            break
        index, spec = request.pending.popleft()
        new_texts.append((request, index, spec))
        counts.append(request.task.id)
        is_searching = is_searching or is_search(spec)
    return new_texts


class UsageMeter:
    """Device-seconds by task. A shared pass is split among its texts; a prefill is charged to its own task."""

    def __init__(self) -> None:
        self._usage: dict[str, float] = {}
        self._prefills: dict[str, float] = {}
        self.pass_counts = PassCounts()

    @contextmanager
    def charge(self, task_ids: Sequence[str], *, is_prefill: bool = False) -> Iterator[None]:
        """Charge the time of the block in equal parts to these tasks, a repeated one several times."""
        started = time.monotonic()
        self.pass_counts.add(len(task_ids))
        try:
            yield
        finally:
            share_s = (time.monotonic() - started) / len(task_ids)
            for account in (self._usage, self._prefills) if is_prefill else (self._usage,):
                for task_id in task_ids:
                    account[task_id] = account.get(task_id, 0.0) + share_s

    def take(self) -> Mapping[str, float]:
        """Device-seconds since the last call."""
        usage, self._usage = self._usage, {}
        return usage

    def pop_prefill(self, task_id: str) -> float | None:
        return self._prefills.pop(task_id, None)


def text_samples(costs: PassCostModel, sizes: Sequence[int], prefill_s: float | None) -> list[CostSample]:
    """Seconds of one token by batch size, and of a task's prefill."""
    seconds = {rows: costs.predict_seconds(rows) for rows in sizes}
    samples = [
        CostSample(what="token", batch_size=rows, seconds=one) for rows, one in seconds.items() if one is not None
    ]
    if samples and prefill_s is not None:
        samples.append(CostSample(what="job", batch_size=1, seconds=prefill_s))
    return samples
