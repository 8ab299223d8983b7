"""The step loop: pictures of different people share the passes of one denoiser.

A pass that runs out of memory is made again with fewer rows, and from then on passes stay that small: what went wrong
is nobody's loss, because a pass changes nothing but its output.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch

from bot.cost_curve import Point
from bot.ports import Measured
from inference.diffusion.batching import Merge
from inference.diffusion.coroutines import Call
from inference.diffusion.lora import Adapters
from inference.diffusion.schedule_policy import Waiting, choose
from inference.diffusion.sequence import Picture
from inference.engine.cost_model import CostTable
from inference.engine.error_mapping import is_out_of_memory

Fail = Callable[[Picture, Exception], None]


class Batch:
    """Pictures that were begun and not yet decoded.

    Attributes:
        spent: device-seconds by task since they were last taken.
        limit: rows of one pass, at most; 0: as many as pay.
    """

    def __init__(
        self, denoiser: torch.nn.Module | None, merge: Merge | None, device: torch.device, adapters: Adapters
    ) -> None:
        self._denoiser = denoiser
        self._merge = merge
        self._device = device
        self._adapters = adapters
        self._pictures: list[Picture] = []
        self._shapes: dict[str, CostTable] = {}
        self._known: dict[str, list[Measured]] = defaultdict(list)
        self.spent: dict[str, float] = defaultdict(float)
        self.limit = 0

    def __len__(self) -> int:
        return len(self._pictures)

    def add(self, picture: Picture) -> None:
        self._pictures.append(picture)

    def drop(self, picture: Picture) -> None:
        if picture in self._pictures:
            self._pictures.remove(picture)

    def take_spent(self) -> dict[str, float]:
        spent, self.spent = dict(self.spent), defaultdict(float)
        return spent

    def know(self, rates: Sequence[Measured]) -> None:
        """What earlier processes measured: passes by shape and rows of the batch."""
        for rate in rates:
            if rate.what == "pass":
                self._known[rate.shape].append(rate)

    def costs(self, shape: str) -> CostTable | None:
        """Seconds of a pass of such pictures by its tokens; None before the first."""
        return self._shapes.get(shape)

    # ------------------------------------------------------------ one pass

    def step(self, fail: Fail) -> list[Picture]:
        """One pass for those whose turn it is; returns them, each at its next call or at its end.

        A picture whose part goes wrong is handed to `fail` and is no longer here.
        """
        chosen = self._choose()
        while True:
            started = time.monotonic()
            try:
                answers = self._pass(chosen)
                break
            except Exception as error:
                if len(chosen) == 1:
                    self._fail(chosen[0], error, fail)
                    return []
                chosen = self._fewer(chosen, error)
        self._book(chosen, time.monotonic() - started)
        return self._resume(chosen, answers, fail)

    def _choose(self) -> list[Picture]:
        waiting: dict[Hashable, Picture] = {id(picture): picture for picture in self._pictures}
        rows = [
            Waiting(
                id=name,
                share=picture.task.share or picture.task.id,
                key=picture.key,
                tokens=picture.tokens,
                steps_left=picture.steps_left,
                waited=picture.waited,
                order=picture.order,
            )
            for name, picture in waiting.items()
        ]
        return [waiting[row.id] for row in choose(rows, lambda rivals: self._cap(waiting[rivals[0].id], rivals))]

    def _cap(self, first: Picture, rivals: Sequence[Waiting]) -> int:
        """Tokens of a pass with this picture: as many as pay, of what waits."""
        limit = sum(row.tokens for row in rivals)
        if self.limit:
            limit = min(limit, self.limit * max(1, first.tokens // first.rows))
        return self._table(first).cap(limit, max(row.tokens for row in rivals))

    def _table(self, picture: Picture) -> CostTable:
        """What passes like this picture's cost, by tokens."""
        shape = shape_of(picture.task.options)
        if shape not in self._shapes:
            row = picture.tokens / picture.rows
            known = self._known.pop(shape, ())
            self._shapes[shape] = CostTable(Point(rate.rows * row, rate.seconds) for rate in known)
        return self._shapes[shape]

    def _pass(self, chosen: Sequence[Picture]) -> list[Any]:
        """Each picture's answer."""
        self._adapters.apply(chosen[0].loras)
        if self._denoiser is None:
            return [None for _ in chosen]  # it is only held; what it computes, it computes itself
        if len(chosen) == 1 or self._merge is None:
            answers = [_call(picture).perform(self._denoiser) for picture in chosen]
        else:
            arguments = self._merge.join([picture.arguments for picture in chosen])
            answers = self._merge.split(self._denoiser(**arguments), [picture.rows for picture in chosen])
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "xpu":
            torch.xpu.synchronize(self._device)
        return answers

    def _fewer(self, chosen: list[Picture], error: Exception) -> list[Picture]:
        """Which of them to try again after the error: half when memory ran out, and no pass has more rows from now on;
        else one, and these share no pass any more, so that only the guilty one fails."""
        if not is_out_of_memory(error):
            for picture in chosen:
                picture.key = id(picture)
            return chosen[:1]
        error.__traceback__ = None  # its frames hold what there was no room for
        half = chosen[: len(chosen) // 2]
        self.limit = max(1, sum(picture.rows for picture in half))
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return half

    def _book(self, chosen: Sequence[Picture], seconds: float) -> None:
        tokens = sum(picture.tokens for picture in chosen)
        for picture in chosen:
            self.spent[picture.task.id] += seconds * picture.tokens / tokens
        self._table(chosen[0]).learn(tokens, seconds)

    def _resume(self, chosen: Sequence[Picture], answers: Sequence[Any], fail: Fail) -> list[Picture]:
        stepped = []
        for picture in self._pictures:
            picture.waited += 1
        for picture, answer in zip(chosen, answers, strict=True):
            picture.waited = 0
            if picture.call is None:
                continue  # another picture of its task went wrong
            started = time.monotonic()
            try:
                picture.resume(answer)
                stepped.append(picture)
            except Exception as error:  # it is this picture's own
                self._fail(picture, error, fail)
            finally:
                self.spent[picture.task.id] += time.monotonic() - started
        return stepped

    def _fail(self, picture: Picture, error: Exception, fail: Fail) -> None:
        self.drop(picture)
        fail(picture, error)


def _call(picture: Picture) -> Call:
    assert picture.call is not None
    return picture.call


def shape_of(options: Mapping[str, Any]) -> str:
    return "{width}x{height}".format_map(options)
