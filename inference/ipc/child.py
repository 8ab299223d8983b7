"""What every child process does first: find its pipes, become humble, and die with its parent.

A child ends in two ways that need no goodwill of its own code: the end of its input (a thread reads
it) and, on Linux, the kernel's signal at the parent's death, which also reaches a hung child.
"""

import contextlib
import ctypes
import faulthandler
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from inference.ipc import messages

_PR_SET_PDEATHSIG = 1


class Line:
    """The child's end of the two pipes. `send` may be called from any thread."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._lock = threading.Lock()

    def send(self, message: object) -> None:
        frame = messages.encode(message)
        try:
            with self._lock:
                self._outgoing.write(frame)
                self._outgoing.flush()
        except OSError:
            os._exit(0)  # nobody listens any more

    def receive(self) -> Any | None:
        """The next message; None when the parent closed the pipe or is gone."""
        return messages.read(self._incoming)


def take_line() -> Line:
    """Keep stdin and stdout for messages; what libraries print goes to stderr from now on."""
    incoming = os.fdopen(os.dup(0), "rb", buffering=2**16)
    outgoing = os.fdopen(os.dup(1), "wb", buffering=2**16)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return Line(incoming, outgoing)


def settle(parent: int, niceness: int) -> None:
    """Ignore the terminal's signals (the parent decides when we end), be nice, die with `parent`."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if niceness and hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(niceness)
    faulthandler.enable(sys.__stderr__ or 2)
    _die_with(parent)


def _die_with(parent: int) -> None:
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)  # it died before we asked to be told


def listen(line: Line, take: Callable[[Any], None]) -> None:
    """Hand every message to `take`, in a thread; end the process when there are no more."""

    def read() -> None:
        try:
            while (message := line.receive()) is not None:
                take(message)
        except messages.BadFrame as error:
            log("error", "The parent sent noise", problem=str(error))
        os._exit(0)

    threading.Thread(target=read, name="listen", daemon=True).start()


def log(level: str, event: str, **fields: Any) -> None:
    """One JSON line on stderr; the parent puts it into the log. Never a prompt above "debug"."""
    line = json.dumps({"level": level, "event": event, **fields}, default=str)
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def trace(error: BaseException) -> str:
    """The error's traceback; its frames let go of their variables, which may be gigabytes."""
    text = "".join(traceback.format_exception(error))
    current: BaseException | None = error
    while current is not None:
        traceback.clear_frames(current.__traceback__)
        current.__traceback__, current = None, current.__cause__ or current.__context__
    return text
