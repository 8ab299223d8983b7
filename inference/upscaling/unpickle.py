"""Reads the weights of a `.pth` file: `python -m inference.upscaling.unpickle < FILE > SAFETENSORS`.

A process of its own, because such a file is a pickle. It holds nothing but that open file and the pipe to its parent,
and gives up all else before it reads. Only plain tensors are read (`weights_only`). A refusal is one line on stderr.
"""

import io
import os
import sys
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from inference.checkpoints.convert import MAX_BYTES, TOO_LARGE
from inference.checkpoints.upscaler_layout import PREFIXES
from inference.ipc import sandbox

_REFUSED, _NO_TENSORS = "unreadable", "no tensors"
_SETS = tuple(prefix.removesuffix(".") for prefix in PREFIXES)
"""Names of the weights in a file that has more than weights; the first is the best."""


def read_tensors(file: Any) -> dict[str, Tensor]:
    """The best set of weights of an open file. Raises: ValueError: what it holds is not plain tensors."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the library has no common base for what a pickle can be
        raise ValueError(_REFUSED) from error
    weights = next((content[name] for name in _SETS if _is_table(content) and _is_table(content.get(name))), content)
    if not _is_table(weights) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ValueError(_NO_TENSORS)
    if sum(value.numel() * value.element_size() for value in weights.values()) > MAX_BYTES:
        raise ValueError(TOO_LARGE)  # a view can be larger than the file
    return {str(name): value.detach().clone().contiguous() for name, value in weights.items()}


def _is_table(content: Any) -> bool:
    return isinstance(content, Mapping) and bool(content)


def _import_reader() -> None:
    """Import what torch imports on demand, for both of its formats: a confined process cannot."""
    torch.set_num_threads(1)
    for is_zip in (True, False):
        sample = io.BytesIO()
        torch.save({"weight": torch.zeros(2)}, sample, _use_new_zipfile_serialization=is_zip)
        sample.seek(0)
        save(read_tensors(sample))


def main() -> None:
    _import_reader()
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
