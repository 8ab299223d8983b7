"""A process that does one long piece of work, a training or a build, while people's jobs come first.

It ends at the latest with its parent, has the lowest priority, waits while people's jobs run, and a machine that runs
out of memory ends it first.
"""

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from inference.ipc import child, sandbox
from inference.ipc.build_messages import SetPaused

NICE = 15

Work = Callable[[Any, threading.Event, Callable[[Any], None]], Any]
"""Does what a message asks for: is given the message, whether no job of a person runs, and a function that sends
progress. Returns the answer."""


def run_background_work(asked_type: type, load_work: Callable[[], Work]) -> None:
    """Read one message of this type, answer it, and exit. `load_work`: imports torch."""
    parent_pid = int(sys.argv[1])
    pipes = child.open_pipes()
    child.detach_from_terminal(parent_pid, NICE)
    sandbox.forbid_new_privileges()
    child.end_first()
    asked = pipes.receive()
    if not isinstance(asked, asked_type):
        os._exit(0)
    is_free = threading.Event()
    is_free.set()

    def handle(message: Any) -> None:
        if isinstance(message, SetPaused):
            (is_free.clear if message.is_paused else is_free.set)()

    child.start_reader(pipes, handle)
    work = load_work()  # torch's output goes to stderr from now on
    pipes.send(work(asked, is_free, pipes.send))
    os._exit(0)
