"""A thread that runs one hook and can be interrupted, so that an endless loop does not take the processor for ever."""

import ctypes
import threading
from collections.abc import Callable
from typing import Any


class HookInterrupted(BaseException):
    """Raised in the thread: nobody waits for the hook any more."""


class HookThread(threading.Thread):
    """`tell`: gets the result and what was raised, in this thread; an interruption may make it two calls."""

    def __init__(self, plugin: str, call: Callable[[], Any], tell: Callable[[Any, BaseException | None], None]) -> None:
        super().__init__(name=f"plugin-{plugin}", daemon=True)
        self._call, self._tell = call, tell
        self._result: Any = None
        self._error: BaseException | None = None
        self._is_over = False

    def run(self) -> None:
        """The interruption comes once, anywhere: the second call of `tell` is safe from it."""
        try:
            try:
                self._result = self._call()
            except BaseException as raised:  # whatever a plugin raises, SystemExit too
                self._error = raised
            self._is_over = True
            self._tell(self._result, self._error)
        except HookInterrupted:
            self._tell(self._result, self._error)

    def interrupt(self) -> None:
        """At the next line of Python that it runs; what waits in a system call goes on waiting."""
        if self.ident is not None and self.is_alive() and not self._is_over:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.ident), ctypes.py_object(HookInterrupted))
