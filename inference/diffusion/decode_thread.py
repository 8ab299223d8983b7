"""Decodes finished latents beside the step loop, so that others' pictures need not wait for it.

One thread, and on graphics cards one stream; small pictures that wait together are decoded together. Where parts take
turns on the device there is no beside: then the caller decodes between two steps.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import torch

from inference.diffusion.coroutines import Call
from inference.diffusion.decode_batching import join, split
from inference.diffusion.sequence import Picture


@dataclass(frozen=True)
class Decoded:
    """What came of it: the answer to the picture's call or an error, and the device-seconds it took."""

    picture: Picture
    answer: Any
    error: Exception | None
    seconds: float


class Aside:
    """`perform` makes a call; `together` says how many of some calls, from the first on, one call can stand for.
    `threads`: how many of the CPU's this may use; 0: as many as torch likes."""

    def __init__(
        self,
        perform: Callable[[Call], Any],
        device: torch.device,
        *,
        together: Callable[[Sequence[Call]], int],
        threads: int = 0,
    ) -> None:
        self._perform = perform
        self._together = together
        self._device = device
        self._threads = threads
        self._todo: SimpleQueue[list[Picture] | None] = SimpleQueue()
        self._gathered: list[Picture] = []
        self._done: SimpleQueue[Decoded] = SimpleQueue()
        self.pending = 0
        threading.Thread(target=self._serve, name="decode", daemon=True).start()

    def put(self, picture: Picture) -> None:
        """The picture's call is a decode, to be done after the next `send`."""
        self.pending += 1
        self._gathered.append(picture)

    def send(self) -> None:
        """Begin with what was put: pictures that end with the same step are there together."""
        if self._gathered:
            if self._device.type == "cuda":
                torch.cuda.current_stream(self._device).synchronize()  # their latents are there
            self._todo.put(self._gathered)
            self._gathered = []

    def take(self, wait_s: float = 0.0) -> list[Decoded]:
        """What is done. `wait_s`: how long to wait for the first, when any is pending."""
        done: list[Decoded] = []
        while self.pending:
            try:
                done.append(self._done.get(timeout=wait_s) if wait_s and not done else self._done.get_nowait())
            except Empty:
                break
            self.pending -= 1
        return done

    def close(self) -> None:
        self.send()
        self._todo.put(None)

    def _serve(self) -> None:
        if self._threads:
            torch.set_num_threads(self._threads)
        with torch.no_grad():
            while (waiting := self._todo.get()) is not None:
                while waiting:
                    self._decode_some(waiting)
                del waiting

    def _decode_some(self, waiting: list[Picture]) -> None:
        """The first, and those that can share its call, are taken away and decoded."""
        known: list[Call] = []
        for picture in waiting:
            if picture.call is None:  # it was stopped while it waited
                break
            known.append(picture.call)
        count = self._together(known) if known else 1
        taken, waiting[:] = waiting[:count], waiting[count:]
        for decoded in self._decode(taken, known[:count]):
            self._done.put(decoded)

    def _decode(self, pictures: Sequence[Picture], calls: Sequence[Call]) -> list[Decoded]:
        started = time.monotonic()
        if not calls:
            return [Decoded(picture, None, None, 0.0) for picture in pictures]
        try:
            answers = [self._on_own_stream(calls[0])] if len(calls) == 1 else self._shared(calls)
        except Exception as error:
            if len(calls) > 1:  # one of them, or all of them are too much: each alone
                return [one for pair in zip(pictures, calls, strict=True) for one in self._decode(pair[:1], pair[1:])]
            return [Decoded(pictures[0], None, error, time.monotonic() - started)]
        each = (time.monotonic() - started) / len(calls)
        return [Decoded(picture, answer, None, each) for picture, answer in zip(pictures, answers, strict=True)]

    def _shared(self, calls: Sequence[Call]) -> list[Any]:
        return split(self._on_own_stream(join(calls)), calls)

    def _on_own_stream(self, call: Call) -> Any:
        if self._device.type != "cuda":
            return self._perform(call)
        stream = torch.cuda.Stream(self._device)
        with torch.cuda.stream(stream):
            answer = self._perform(call)
        stream.synchronize()
        return answer
