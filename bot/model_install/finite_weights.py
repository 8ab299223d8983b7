"""Finds weights that are not finite, without a library for arrays: the core process has none."""

from pathlib import Path

from bot.model_install.model_headers import WeightsHeader, read_header

_CHUNK_BYTES = 2**22
_HUGE = bytes((0x7F, 0xFF))
_TOP_BYTES = {
    "F64": (8, _HUGE), "F32": (4, _HUGE), "BF16": (2, _HUGE), "F8_E4M3": (1, _HUGE),
    "F16": (2, bytes(value for value in range(256) if value & 0x7C == 0x7C)),
    "F8_E5M2": (1, bytes(value for value in range(256) if value & 0x7C == 0x7C)),
}  # fmt: skip
"""Bytes of a number by its format, and the highest bytes of what is infinite or NaN. In the wide formats such a byte
may also belong to a number beyond 1e38, which nothing can compute with either."""


def find_infinite_tensor(path: Path) -> str:
    """The name of a tensor with infinity or NaN; empty if there is none. Raises: DamagedModelFile; OSError."""
    header = read_header(path)
    return next((name for name in header.shapes if _is_infinite(path, header, name)), "")


def _is_infinite(path: Path, header: WeightsHeader, name: str) -> bool:
    width, bad = _TOP_BYTES.get(header.formats[name], (0, b""))
    if not width:
        return False
    start, end = header.extents[name]
    with path.open("rb") as file:
        file.seek(header.data_start + start)
        for offset in range(start, end, _CHUNK_BYTES):
            top = file.read(min(_CHUNK_BYTES, end - offset))[width - 1 :: width]
            if len(top.translate(None, bad)) < len(top):
                return True
    return False
