"""Turns the weights of a `.pth` file into safetensors: `python -m inference.checkpoints.unpickle < FILE > RESULT`.

A process of its own, because such a file is a pickle. It holds nothing but that open file and the pipe to its parent,
and gives up all else before it reads. Only plain tensors are read (`weights_only`). A refusal is one line on stderr.
"""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import ModelRefused, StorageFull
from inference.checkpoints.upscaler_layout import PREFIXES
from inference.ipc import sandbox
from inference.ipc.environment import ROOT, clean_environment

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 512 * 2**20
"""The largest file, and the largest result; ESRGAN's have 64 MiB."""
TIMEOUT_S = 180.0
_REFUSED, _NO_TENSORS, _TOO_LARGE = "unreadable", "no tensors", "too large"
_SETS = tuple(prefix.removesuffix(".") for prefix in PREFIXES)
"""Names of the weights in a file that has more than weights; the first is the best."""


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
                [sys.executable, "-m", "inference.checkpoints.unpickle"],
                cwd=ROOT,
                env=clean_environment(os.environ, threads=1),
                stdin=file,
                capture_output=True,
                timeout=TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise ModelRefused(source.name, "pickle") from error
    if done.returncode or not done.stdout:
        is_large = done.stderr.strip().endswith(_TOO_LARGE.encode())
        raise ModelRefused(
            source.name, "pickle_size" if is_large else "pickle", detail=str(MAX_BYTES // 2**20) if is_large else ""
        )
    return done.stdout


# ---------------------------------------------------------------- in the child


def read_tensors(file: Any) -> "dict[str, Tensor]":
    """The best set of weights of an open file. Raises: ValueError: what it holds is not plain tensors."""
    import torch

    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the library has no common base for what a pickle can be
        raise ValueError(_REFUSED) from error
    weights = next((content[name] for name in _SETS if _is_table(content) and _is_table(content.get(name))), content)
    if not _is_table(weights) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ValueError(_NO_TENSORS)
    if sum(value.numel() * value.element_size() for value in weights.values()) > MAX_BYTES:
        raise ValueError(_TOO_LARGE)  # a view can be larger than the file
    return {str(name): value.detach().clone().contiguous() for name, value in weights.items()}


def _is_table(content: Any) -> bool:
    return isinstance(content, Mapping) and bool(content)


def _import_reader() -> None:
    """Import what torch imports on demand, for both of its formats: a confined process cannot."""
    import torch
    from safetensors.torch import save

    torch.set_num_threads(1)
    for is_zip in (True, False):
        sample = io.BytesIO()
        torch.save({"weight": torch.zeros(2)}, sample, _use_new_zipfile_serialization=is_zip)
        sample.seek(0)
        save(read_tensors(sample))


def main() -> None:
    _import_reader()
    from safetensors.torch import save

    sandbox.confine()
    try:
        sys.stdout.buffer.write(save(read_tensors(io.BytesIO(sys.stdin.buffer.read()))))
        sys.stdout.flush()
        code = 0
    except Exception as error:  # the parent only needs to know that, and what kind
        sys.stderr.write(f"{error}\n")
        code = 1
    os._exit(code)


if __name__ == "__main__":
    main()
