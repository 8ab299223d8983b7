"""The process that trains one adapter: `python -m inference.learning.trainer PARENT_PID`."""

from inference.ipc.background_work import Work, run_background_work
from inference.ipc.training_messages import StartTraining


def load_work() -> Work:
    from inference.learning.training_run import run_training

    return lambda asked, is_free, send: run_training(asked.request, is_free, send)


if __name__ == "__main__":
    run_background_work(StartTraining, load_work)
