"""A process that behaves like the trainer, by the name of its adapter. Imports no torch."""

import os
import sys
import time
from pathlib import Path

from bot.errors import ModelUnavailable, TrainingRefused
from bot.ports import Score, TrainingProgress, TrainingReport
from inference.ipc import child, messages


def main() -> None:
    pipes = child.open_pipes()
    child.detach_from_terminal(int(sys.argv[1]), 0)
    request = pipes.receive().request
    pipes.send(TrainingProgress(stage="checking"))
    match request.name:
        case "refused":
            pipes.send(messages.pack_error(TrainingRefused("no_answer", line=3, file="metadata.jsonl")))
        case "unavailable":
            pipes.send(messages.pack_error(ModelUnavailable("fox", "/models/fox does not exist.")))
        case "killed":
            os.kill(os.getpid(), 9)
        case "hangs":
            Path(request.work).mkdir(parents=True)
            time.sleep(60)
        case "paused":
            pipes.send(TrainingProgress(stage=f"paused {pipes.receive().is_paused}"))
    none = Score(0, 1)
    pipes.send(TrainingReport(kind="vision", new_before=none, new_after=none, old_before=none, old_after=none))
    os._exit(0)


if __name__ == "__main__":
    main()
