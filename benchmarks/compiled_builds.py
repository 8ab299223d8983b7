"""Builds of a shape's denoiser, as `easel models optimize` makes and tries them, in a process of their own.

`python -m benchmarks.compiled_builds FOLDER MODEL SIZE BACKEND PRECISION` writes the build into the data directory that
`EASEL_DATA_DIR` names, where workers find it, and prints its report.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.shapes import ModelShape

DATA_DIR = "EASEL_DATA_DIR"


@contextmanager
def scratch_data_dir() -> Iterator[Path]:
    """A data directory for builds, which the workers of this process use."""
    before = os.environ.get(DATA_DIR)
    with TemporaryDirectory(prefix="easel-bench-") as folder:
        os.environ[DATA_DIR] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[DATA_DIR]
            if before is not None:
                os.environ[DATA_DIR] = before


def make_build(shape: ModelShape, backend: str, precision: str) -> dict[str, Any]:
    """Its report: times torch's speed by rows, levels, MiB. Raises: subprocess.CalledProcessError."""
    arguments = [str(shape.folder), shape.name, str(shape.size), backend, precision]
    command = [sys.executable, "-m", "benchmarks.compiled_builds", *arguments]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    return report


def _make_build(folder: str, name: str, size: str, backend: str, precision: str) -> dict[str, Any]:
    import torch

    from benchmarks.ours import model_of
    from bot.ports import BuildRequest
    from inference.backends.builds import builds_dir
    from inference.diffusion.execution.denoiser_build import make_build
    from inference.ipc.build_messages import MakeBuild

    torch.set_num_threads(1)
    is_free = threading.Event()
    is_free.set()
    model = model_of(ModelShape(name, Path(folder), int(size)))
    request = BuildRequest(model=model, backend=backend, precision=precision)
    report = make_build(MakeBuild(request=request, folder=str(builds_dir()), threads=1), is_free, lambda _: None)
    gains = {str(speed.rows): round(speed.gain, 2) for speed in report.speeds}
    return {"times_torch_by_rows": gains, "levels": report.levels, "disk_mb": report.disk_mb}


if __name__ == "__main__":
    print(json.dumps(_make_build(*sys.argv[1:])))
