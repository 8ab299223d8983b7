"""Turns a function with step callbacks, such as Transformers' `generate`, into one that is advanced step by step.

The function runs in its own thread, which is blocked in each callback until the next `advance`, so only one of the two
threads runs at a time. The thread is reused, because torch keeps a worker pool for each thread that calls it.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

Pause = Callable[[Any], None]
"""Called in the callback: passes a value to `advance` and waits for the next one. Raises: StopCall."""


class StopCall(BaseException):
    """Ends the call from its callback; not an Exception, so no library catches it."""


@dataclass(frozen=True)
class Paused:
    value: Any


@dataclass(frozen=True)
class Completed:
    value: Any


class CallbackStepper:
    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[Pause], Any] | None] = SimpleQueue()
        self._resume: SimpleQueue[bool] = SimpleQueue()
        self._outcomes: SimpleQueue[Paused | Completed | BaseException] = SimpleQueue()
        self._next_call: Callable[[Pause], Any] | None = None
        self._is_running = False
        threading.Thread(target=self._run, name="compute", daemon=True).start()

    def start(self, call: Callable[[Pause], Any]) -> None:
        """Make `call(pause)` the call to advance; it starts with the first `advance`."""
        self.stop()
        self._next_call = call

    def advance(self) -> Paused | Completed:
        """Run to the next pause or to the end. Raises what the call raises."""
        if self._next_call is not None:
            self._calls.put(self._next_call)
            self._next_call, self._is_running = None, True
        elif self._is_running:
            self._resume.put(True)
        else:
            raise RuntimeError("no call to advance")
        outcome = self._outcomes.get()
        if isinstance(outcome, Paused):
            return outcome
        self._is_running = False
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def stop(self) -> None:
        """End the call at its current pause; does nothing without a call."""
        self._next_call = None
        if self._is_running:
            self._resume.put(False)
            self._is_running = False
            self._outcomes.get()

    def close(self) -> None:
        self.stop()
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                outcome: Completed | BaseException = Completed(call(self._pause))
            except BaseException as error:
                outcome = error
            del call
            self._outcomes.put(outcome)
            del outcome

    def _pause(self, value: Any) -> None:
        self._outcomes.put(Paused(value))
        if not self._resume.get():
            raise StopCall
