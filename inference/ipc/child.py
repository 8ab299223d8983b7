"""The start of every child process: opens its pipes, lowers its priority, ties it to its parent's life.

Two mechanisms end a child without its main thread's help: the end of its input, which a thread reads, and, on Linux,
the kernel's signal at the parent's death, which also reaches a hung child.
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
from pathlib import Path
from typing import Any, BinaryIO

from inference.ipc import messages

_PR_SET_PDEATHSIG = 1


class PipeConnection:
    """The child's end of the two pipes. `send` may be called from any thread."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._lock = threading.Lock()

    def send(self, message: object) -> None:
        frame = messages.encode_frame(message)
        try:
            with self._lock:
                self._outgoing.write(frame)
                self._outgoing.flush()
        except OSError:
            os._exit(0)  # the parent closed the pipe

    def receive(self) -> Any | None:
        """The next message; None when the parent closed the pipe or has died."""
        return messages.read_message(self._incoming)


def open_pipes() -> PipeConnection:
    """Reserve stdin and stdout for messages; the output of libraries goes to stderr from now on."""
    incoming = os.fdopen(os.dup(0), "rb", buffering=2**16)
    outgoing = os.fdopen(os.dup(1), "wb", buffering=2**16)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return PipeConnection(incoming, outgoing)


def detach_from_terminal(parent_pid: int, nice: int) -> None:
    """Ignore the terminal's signals (the parent decides when we end), raise our nice value, die with the parent."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if nice and hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(nice)
    faulthandler.enable(sys.__stderr__ or 2)
    _die_with_parent(parent_pid)


def _die_with_parent(parent_pid: int) -> None:
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(0)  # it died before prctl took effect


def end_first() -> None:
    """If memory runs out, Linux ends this process rather than one that serves people."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900")


def start_reader(pipes: PipeConnection, handle: Callable[[Any], None]) -> None:
    """Pass every message to `handle`, in a thread; exit the process when the input ends."""

    def read() -> None:
        try:
            while (message := pipes.receive()) is not None:
                handle(message)
        except messages.ProtocolError as error:
            log("error", "The parent broke the protocol", problem=str(error))
        os._exit(0)

    threading.Thread(target=read, name="reader", daemon=True).start()


def log(level: str, event: str, **fields: Any) -> None:
    """Write one JSON line to stderr, which the parent logs at this level. No prompts above "debug".

    Children log in this way only: the parent cannot parse the lines of other loggers.
    """
    line = json.dumps({"level": level, "event": event, **fields}, default=str)
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def format_traceback(error: BaseException) -> str:
    """The error's traceback. Clears the variables of its frames, which can hold gigabytes."""
    text = "".join(traceback.format_exception(error))
    current: BaseException | None = error
    while current is not None:
        traceback.clear_frames(current.__traceback__)
        current.__traceback__, current = None, current.__cause__ or current.__context__
    return text
