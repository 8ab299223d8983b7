"""Writes `.gguf` files for tests: headers alone without the library, and tiny denoisers with it."""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy
import torch

from bot.model_install.gguf_header import FORMATS

ALIGNMENT = 32
_NUMBERS = {name: number for number, (name, _, _) in FORMATS.items()}


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def header_bytes(shapes: Mapping[str, list[int]], architecture: str = "", kind: str = "F16") -> bytes:
    """A file whose weights are zeros; shapes as torch has them."""
    entries, offset = b"", 0
    _, weights, size = FORMATS[_NUMBERS[kind]]
    for name, shape in shapes.items():
        entries += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *reversed(shape))
        entries += struct.pack("<IQ", _NUMBERS[kind], offset)
        offset += -(-int(numpy.prod(shape)) // weights * size // ALIGNMENT) * ALIGNMENT
    keys = text("general.architecture") + struct.pack("<I", 8) + text(architecture) if architecture else b""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), bool(architecture)) + keys + entries
    return head + b"\0" * (-len(head) % ALIGNMENT + offset)


def write_gguf(path: Path, tensors: Mapping[str, torch.Tensor], kind: str = "Q8_0", architecture: str = "x") -> Path:
    """Matrices whose rows have whole blocks in this format; other tensors of one dimension in BF16, the rest in F32."""
    import gguf

    writer = gguf.GGUFWriter(str(path), architecture)
    wanted, plain = gguf.GGMLQuantizationType[kind], gguf.GGMLQuantizationType.BF16
    block = gguf.GGML_QUANT_SIZES[wanted][0]
    for name, tensor in tensors.items():
        numbers = tensor.float().contiguous().numpy()
        found = wanted if numbers.ndim == 2 and numbers.shape[1] % block == 0 else plain if numbers.ndim == 1 else None
        if found is None:
            writer.add_tensor(name, numbers)
        else:
            writer.add_tensor(name, gguf.quants.quantize(numbers, found), raw_dtype=found)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
