"""Turns the weights of a `.pth` file into safetensors, in a child process (`inference.upscaling.unpickle`).

Such a file is a pickle, and could run code where it is read. Imports no torch.
"""

import os
import subprocess
import sys
from pathlib import Path

from bot.errors import ModelRefused, StorageFull
from inference.ipc.environment import ROOT, clean_environment

MAX_BYTES = 512 * 2**20
"""The largest file, and the largest result; ESRGAN's have 64 MiB."""
TIMEOUT_S = 180.0
TOO_LARGE = "too large"
"""How the child's refusal ends when the result would be larger."""


def convert_pickle(source: Path, target: Path) -> None:
    """Write a `.pth` file's tensors as safetensors. Raises: ModelRefused; StorageFull."""
    try:
        if source.stat().st_size > MAX_BYTES:
            raise ModelRefused(source.name, "pickle_size", detail=str(MAX_BYTES // 2**20))
        weights = _read_in_child(source)
    except OSError as error:
        raise ModelRefused(source.name, "pickle") from error
    part = target.with_suffix(".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(weights)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageFull from error


def _read_in_child(source: Path) -> bytes:
    with source.open("rb") as file:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "inference.upscaling.unpickle"],
                cwd=ROOT,
                env=clean_environment(os.environ, threads=1),
                stdin=file,
                capture_output=True,
                timeout=TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise ModelRefused(source.name, "pickle") from error
    if done.returncode or not done.stdout:
        is_large = done.stderr.strip().endswith(TOO_LARGE.encode())
        raise ModelRefused(
            source.name, "pickle_size" if is_large else "pickle", detail=str(MAX_BYTES // 2**20) if is_large else ""
        )
    return done.stdout
