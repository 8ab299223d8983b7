"""The process that compiles the denoiser of one model.

Run as `python -m inference.diffusion.execution.denoiser_builder PARENT_PID`. It makes one build and ends, at the latest
with its parent. People's jobs come before it: it has the lowest priority, it waits while they run, and a machine that
runs out of memory ends it first.
"""

import os
import sys
import threading
from typing import Any

from inference.ipc import child, sandbox
from inference.ipc.build_messages import MakeBuild, SetPaused

NICE = 15


def main() -> None:
    parent_pid = int(sys.argv[1])
    pipes = child.open_pipes()
    child.detach_from_terminal(parent_pid, NICE)
    sandbox.forbid_new_privileges()
    child.end_first()
    asked = pipes.receive()
    if not isinstance(asked, MakeBuild):
        os._exit(0)
    is_free = threading.Event()
    is_free.set()

    def handle(message: Any) -> None:
        if isinstance(message, SetPaused):
            (is_free.clear if message.is_paused else is_free.set)()

    child.start_reader(pipes, handle)
    from inference.diffusion.execution.denoiser_build import (
        run_build,  # imports torch, whose output goes to stderr from now on
    )

    answer = run_build(asked, is_free, pipes.send)
    pipes.send(answer)
    os._exit(0)


if __name__ == "__main__":
    main()
