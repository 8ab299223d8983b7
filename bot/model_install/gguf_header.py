"""Reads the header of a `.gguf` file: its metadata, and the name, shape, format and place of each tensor.

All of it is untrusted: numbers and sizes are limited before anything is read, tensors must lie inside the file without
overlapping, and only formats that Diffusers computes are accepted. No weights are read.

Source: github.com/ggml-org/ggml, docs/gguf.md.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.model_install.model_headers import DamagedModelFile

MAX_HEADER_BYTES = 16 * 2**20
"""Those of real denoisers have less than 1 MiB."""
_MAX_TENSORS, _MAX_KEYS, _MAX_NAME, _MAX_DIMENSIONS = 20_000, 4096, 512, 4
_MAX_ITEMS = 2**20
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT_KEY, _DEFAULT_ALIGNMENT = "general.alignment", 32
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
FORMATS: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2),
    2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 20: ("IQ4_NL", 32, 18), 23: ("IQ4_XS", 256, 136),
}  # fmt: skip
"""By number: name, weights in a block and bytes of a block. Source: `gguf.GGML_QUANT_SIZES`; those that Diffusers 0.42
can compute."""
UNQUANTIZED = ("F32", "F16", "BF16")
_DAMAGED = "is damaged, or not a GGUF file: copy it again"


@dataclass(frozen=True)
class GgufHeader:
    """By the tensors' names: `shapes` as torch has them, `formats`, `sizes` and `offsets` in the file, bytes.
    `metadata`: texts alone."""

    shapes: Mapping[str, list[int]]
    formats: Mapping[str, str]
    sizes: Mapping[str, int]
    offsets: Mapping[str, int]
    metadata: Mapping[str, str]

    def bytes_with(self, bytes_each: int) -> int:
        """Bytes of all weights in memory: those that are not quantized have `bytes_each` bytes."""
        return sum(
            math.prod(self.shapes[name]) * bytes_each if self.formats[name] in UNQUANTIZED else size
            for name, size in self.sizes.items()
        )


class TruncatedHeader(DamagedModelFile):
    """The bytes end inside the header."""


def read_gguf_header(path: Path) -> GgufHeader:
    """Raises: DamagedModelFile; OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        return parse_gguf_header(file.read(MAX_HEADER_BYTES), size)


def parse_gguf_header(data: bytes, file_size: int) -> GgufHeader:
    """Of a file's first bytes. Raises: TruncatedHeader: these do not suffice; DamagedModelFile."""
    if data.startswith(b"version https://git-lfs"):
        raise DamagedModelFile("is a Git LFS pointer: run `git lfs pull` to get the file")
    if data[:4] != _MAGIC:
        is_other = data[8:9] == b"{"
        raise DamagedModelFile("is a safetensors file: name it .safetensors" if is_other else "is not a GGUF file")
    reader = _HeaderReader(data, 4)
    version = reader.number("I")
    if version not in _VERSIONS:
        raise DamagedModelFile("is a GGUF file of another version than 2 and 3: convert it again")
    tensors, keys = reader.number("Q"), reader.number("Q")
    if tensors > _MAX_TENSORS or keys > _MAX_KEYS:
        raise DamagedModelFile(_DAMAGED)
    metadata, alignment = _read_metadata(reader, keys)
    entries = [_read_tensor(reader) for _ in range(tensors)]
    start = -(-reader.position // alignment) * alignment
    _check_places(entries, file_size - start, alignment)
    if len({entry.name for entry in entries}) != len(entries):
        raise DamagedModelFile(_DAMAGED)
    return GgufHeader(
        shapes={entry.name: entry.shape for entry in entries},
        formats={entry.name: entry.format for entry in entries},
        sizes={entry.name: entry.size for entry in entries},
        offsets={entry.name: start + entry.offset for entry in entries},
        metadata=metadata,
    )


@dataclass(frozen=True)
class _Tensor:
    name: str
    shape: list[int]
    format: str
    offset: int
    size: int


@dataclass
class _HeaderReader:
    data: bytes
    position: int

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.position:
            raise TruncatedHeader(_DAMAGED)
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, code: str) -> int:
        return int(struct.unpack(f"<{code}", self.take(struct.calcsize(code)))[0])

    def text(self, limit: int) -> str:
        length = self.number("Q")
        if length > limit:
            raise DamagedModelFile(_DAMAGED)
        return self.take(length).decode("utf-8", errors="replace")


def _read_metadata(reader: _HeaderReader, keys: int) -> tuple[dict[str, str], int]:
    """Texts by their keys, and the alignment of tensors in bytes."""
    texts: dict[str, str] = {}
    alignment = _DEFAULT_ALIGNMENT
    for _ in range(keys):
        key, kind = reader.text(_MAX_NAME), reader.number("I")
        if kind == _STRING:
            texts[key] = reader.text(MAX_HEADER_BYTES)
        elif kind == _ARRAY:
            _skip_array(reader)
        elif kind not in _SCALARS:
            raise DamagedModelFile(_DAMAGED)
        elif key == _ALIGNMENT_KEY and kind == 4:
            alignment = reader.number("I")
        else:
            reader.take(struct.calcsize(_SCALARS[kind]))
    if not 1 <= alignment <= 2**16:
        raise DamagedModelFile(_DAMAGED)
    return texts, alignment


def _skip_array(reader: _HeaderReader) -> None:
    """Arrays of arrays are not used by any writer, and refused."""
    kind, count = reader.number("I"), reader.number("Q")
    if count > _MAX_ITEMS or (kind != _STRING and kind not in _SCALARS):
        raise DamagedModelFile(_DAMAGED)
    if kind != _STRING:
        reader.take(count * struct.calcsize(_SCALARS[kind]))
        return
    for _ in range(count):
        reader.take(reader.number("Q"))


def _read_tensor(reader: _HeaderReader) -> _Tensor:
    name, dimensions = reader.text(_MAX_NAME), reader.number("I")
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise DamagedModelFile(_DAMAGED)
    shape = [reader.number("Q") for _ in range(dimensions)][::-1]
    number, offset = reader.number("I"), reader.number("Q")
    if number not in FORMATS:
        raise DamagedModelFile(f"has weights in a format that Easel cannot compute (number {number}): get Q4_K or Q8_0")
    name_of_format, weights, size = FORMATS[number]
    if any(not 0 < side < 2**31 for side in shape) or shape[-1] % weights:
        raise DamagedModelFile(_DAMAGED)
    return _Tensor(name, shape, name_of_format, offset, math.prod(shape) // weights * size)


def _check_places(entries: list[_Tensor], data_size: int, alignment: int) -> None:
    """Raises: DamagedModelFile: tensors overlap, or lie outside the file."""
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if entry.offset < end or entry.offset % alignment:
            raise DamagedModelFile("is damaged: its header places tensors where they cannot be")
        end = entry.offset + entry.size
    if end > data_size:
        raise DamagedModelFile("is truncated: copy it again")
