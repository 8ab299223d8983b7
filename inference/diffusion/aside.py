"""Decodes finished latents beside the step loop, so that others' pictures need not wait for it.

One thread, and on graphics cards one stream, one picture after another. Where parts take turns on the device there is
no beside: then the caller decodes between two steps.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import torch

from inference.diffusion.picture import Picture
from inference.diffusion.suspending import Call


@dataclass(frozen=True)
class Decoded:
    """What came of it: the answer to the picture's call or an error, and the device-seconds it took."""

    picture: Picture
    answer: Any
    error: Exception | None
    seconds: float


class Aside:
    """`perform` makes a call. `threads`: how many of the CPU's this may use; 0: as many as torch likes."""

    def __init__(self, perform: Callable[[Call], Any], device: torch.device, *, threads: int = 0) -> None:
        self._perform = perform
        self._device = device
        self._threads = threads
        self._todo: SimpleQueue[Picture | None] = SimpleQueue()
        self._done: SimpleQueue[Decoded] = SimpleQueue()
        self.pending = 0
        threading.Thread(target=self._serve, name="decode", daemon=True).start()

    def put(self, picture: Picture) -> None:
        """The picture's call is a decode: do it soon."""
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()  # its latents are there
        self.pending += 1
        self._todo.put(picture)

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
        self._todo.put(None)

    def _serve(self) -> None:
        if self._threads:
            torch.set_num_threads(self._threads)
        with torch.no_grad():
            while (picture := self._todo.get()) is not None:
                self._done.put(self._decode(picture))
                del picture

    def _decode(self, picture: Picture) -> Decoded:
        started = time.monotonic()
        answer, error = None, None
        call = picture.call
        if call is not None:  # else it was stopped while it waited
            try:
                answer = self._on_own_stream(call)
            except Exception as problem:  # it is the picture's, whatever it is
                error = problem
        return Decoded(picture, answer, error, time.monotonic() - started)

    def _on_own_stream(self, call: Call) -> Any:
        if self._device.type != "cuda":
            return self._perform(call)
        stream = torch.cuda.Stream(self._device)
        with torch.cuda.stream(stream):
            answer = self._perform(call)
        stream.synchronize()
        return answer
