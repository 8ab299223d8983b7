"""Turns a call that reports through callbacks into one that advances step by step.

Diffusers' pipelines and Transformers' `generate` call back at each step. The bridge runs them in one
thread of its own and holds that thread at each callback until `advance` is called again, so only one of the
two threads ever runs. The thread is kept: torch keeps a team of workers for each thread that calls it.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

Pause = Callable[[Any], None]
"""Called from inside: hands a value out and waits. Raises: Stop."""


class Stop(BaseException):
    """Ends the call from inside; not an Exception, so that no library swallows it."""


@dataclass(frozen=True)
class Paused:
    value: Any


@dataclass(frozen=True)
class Returned:
    value: Any


class Bridge:
    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[Pause], Any] | None] = SimpleQueue()
        self._go: SimpleQueue[bool] = SimpleQueue()
        self._out: SimpleQueue[Paused | Returned | BaseException] = SimpleQueue()
        self._waiting: Callable[[Pause], Any] | None = None
        self._is_inside = False
        threading.Thread(target=self._serve, name="compute", daemon=True).start()

    def start(self, call: Callable[[Pause], Any]) -> None:
        """Make `call(pause)` the call to advance; it begins with the first `advance`."""
        self.stop()
        self._waiting = call

    def advance(self) -> Paused | Returned:
        """Run until the next pause or the end. Raises what the call raises."""
        if self._waiting is not None:
            self._calls.put(self._waiting)
            self._waiting, self._is_inside = None, True
        elif self._is_inside:
            self._go.put(True)
        else:
            raise RuntimeError("there is nothing to advance")
        outcome = self._out.get()
        if isinstance(outcome, Paused):
            return outcome
        self._is_inside = False
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def stop(self) -> None:
        """End the call where it stands; does nothing when there is none."""
        self._waiting = None
        if self._is_inside:
            self._go.put(False)
            self._is_inside = False
            self._out.get()

    def close(self) -> None:
        self.stop()
        self._calls.put(None)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                outcome: Returned | BaseException = Returned(call(self._pause))
            except BaseException as error:
                outcome = error
            del call
            self._out.put(outcome)
            del outcome

    def _pause(self, value: Any) -> None:
        self._out.put(Paused(value))
        if not self._go.get():
            raise Stop
