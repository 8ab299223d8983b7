"""The process that compiles the denoiser of one model: `python -m inference.diffusion.execution.denoiser_builder
PARENT_PID`."""

from inference.ipc.background_work import Work, run_background_work
from inference.ipc.build_messages import MakeBuild


def load_work() -> Work:
    from inference.diffusion.execution.denoiser_build import run_build

    return run_build


if __name__ == "__main__":
    run_background_work(MakeBuild, load_work)
