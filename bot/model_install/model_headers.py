"""Reads what a model's files say about themselves: JSON configs and the headers of safetensors. Loads no weights.

All of it is untrusted: sizes are limited before anything is read; types, shapes and offsets are checked.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 8 * 2**20
MAX_HEADER_BYTES = 16 * 2**20
"""Those of real models have up to about 2 MiB."""
_LFS_POINTER = b"version https://git-lfs"
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
    "C64": 64,
}  # fmt: skip
"""Bits of one element. Source: the safetensors library."""


class DamagedModelFile(ValueError):
    """The message continues a sentence that begins with the file: "is truncated: copy it again"."""


def read_json_object(path: Path) -> dict[str, Any]:
    """Raises: DamagedModelFile; OSError."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise DamagedModelFile("is too large")
    data = path.read_bytes()
    if data.startswith(b"\xef\xbb\xbf"):
        raise DamagedModelFile("begins with a byte order mark: save it as UTF-8 without one")
    return _parse_object(data, "is not readable JSON")


@dataclass(frozen=True)
class WeightsHeader:
    """`shapes` by the tensors' names; `formats`: their number formats, as safetensors calls them."""

    shapes: Mapping[str, list[int]]
    formats: Mapping[str, str]
    metadata: Mapping[str, str]
    data_start: int
    """Offset of the tensors' data in the file."""
    extents: Mapping[str, tuple[int, int]]
    """Offsets of each tensor's first byte and of its end, from `data_start`."""


def read_tensor_shapes(path: Path) -> dict[str, list[int]]:
    """The shape of each tensor of a safetensors file. Raises: DamagedModelFile; OSError."""
    return dict(read_header(path).shapes)


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says about itself. Its tensors are not checked. Raises: DamagedModelFile; OSError."""
    header, _ = _read_entries(path)
    return _texts_of(header.get("__metadata__"))


def read_header(path: Path) -> WeightsHeader:
    """Of a safetensors file. Raises: DamagedModelFile; OSError."""
    header, length = _read_entries(path)
    metadata = header.pop("__metadata__", None)
    shapes = {name: read_shape(entry) for name, entry in header.items()}
    _check_offsets(header, path.stat().st_size - 8 - length)
    return WeightsHeader(
        shapes=shapes,
        formats={name: str(entry.get("dtype")) for name, entry in header.items()},
        metadata=_texts_of(metadata),
        data_start=8 + length,
        extents={name: tuple(entry["data_offsets"]) for name, entry in header.items()},
    )


def _read_entries(path: Path) -> tuple[dict[str, Any], int]:
    """The header, and its length in bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(_LFS_POINTER))
        if start == _LFS_POINTER:
            raise DamagedModelFile("is a Git LFS pointer: run `git lfs pull` to get the file")
        if start.startswith(b"GGUF"):
            raise DamagedModelFile("is a GGUF file: name it .gguf")
        if len(start) < 8:
            raise DamagedModelFile("is not a safetensors file")
        (length,) = struct.unpack("<Q", start[:8])
        if length > min(size - 8, MAX_HEADER_BYTES):
            raise DamagedModelFile("is truncated, or not a safetensors file: copy it again")
        file.seek(8)
        return _parse_object(file.read(length), "is not a safetensors file"), length


def _texts_of(metadata: object) -> dict[str, str]:
    items = metadata.items() if isinstance(metadata, dict) else ()
    return {name: value for name, value in items if isinstance(value, str)}


def _parse_object(data: bytes, problem: str) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise DamagedModelFile(problem) from None
    if not isinstance(value, dict):
        raise DamagedModelFile(problem)
    return value


def read_shape(entry: object) -> list[int]:
    """Of a tensor's entry in a header. Raises: DamagedModelFile."""
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(_is_size(side) for side in shape):
        raise DamagedModelFile("is damaged: its header has a tensor of an impossible shape")
    return shape


def _check_offsets(entries: Mapping[str, Mapping[str, Any]], data_size: int) -> None:
    """The tensors fill the data without gaps, each with as many bytes as its shape needs. Raises: DamagedModelFile."""
    end = 0
    for start, stop, needed in sorted(map(_read_extent, entries.values())):
        if start != end or stop < start or (needed >= 0 and stop - start != needed):
            raise DamagedModelFile("is damaged: its header places tensors where they cannot be")
        end = stop
    if end > data_size:
        raise DamagedModelFile("is truncated: copy it again")
    if end < data_size:
        raise DamagedModelFile("is damaged: it is longer than its header says")


def _read_extent(entry: Mapping[str, Any]) -> tuple[int, int, int]:
    """Where the tensor starts and ends, and its size in bytes; -1 for an unknown number format."""
    offsets = entry.get("data_offsets")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(offset) for offset in offsets):
        raise DamagedModelFile("is damaged: its header places tensors where they cannot be")
    bits = _BITS.get(str(entry.get("dtype"))[:20], 0)
    return offsets[0], offsets[1], math.prod(entry["shape"]) * bits // 8 if bits else -1


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
