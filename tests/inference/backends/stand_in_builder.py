"""A process that behaves like the builder, by the prompt in its model's title. Imports no torch."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from bot.errors import ModelRefused, ModelUnavailable
from bot.ports import BuildProgress
from inference.backends import builds
from inference.ipc import child, messages
from tests.model_manager_fixture import FASTER


def main() -> None:
    pipes = child.open_pipes()
    child.detach_from_terminal(int(sys.argv[1]), 0)
    asked = pipes.receive()
    request, folder = asked.request, Path(asked.folder)
    unfinished = builds.start_build(folder)
    (unfinished / "graph.xml").write_text("half")
    pipes.send(BuildProgress("exporting"))
    match request.model.title:
        case "refused":
            pipes.send(messages.pack_error(ModelRefused("fox", "build", detail="it has no denoiser to compile")))
        case "unavailable":
            pipes.send(messages.pack_error(ModelUnavailable("fox", "a line\n/models/fox does not exist.")))
        case "killed":
            os.kill(os.getpid(), 9)
        case "hangs":
            time.sleep(60)
        case "paused":
            message = pipes.receive()
            pipes.send(BuildProgress(f"paused {message.is_paused}"))
    report = replace(FASTER, dtype=request.model.dtype)
    builds.finish_build(unfinished, request, builds.key_parts(request, folder), report)
    pipes.send(report)
    os._exit(0)


if __name__ == "__main__":
    main()
