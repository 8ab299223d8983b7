"""Reads the first directory of a TIFF, to refuse what is no picture, or what Pillow would read for too long.

Cameras write raw files as TIFF whose first image is a thumbnail; no decoder here reads their pixels.
"""

import struct
from collections.abc import Iterator

_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_MAX_ENTRIES = 1000
"""Programs write about twenty."""
_MAX_PIECES = 65_536
"""Strips or tiles, for each of which Pillow does work in Python."""
_SUBFILE_TYPE, _DNG_VERSION = 254, 50706
_PIECES = (273, 279, 324, 325)
"""Offsets and lengths of strips and of tiles."""
_CANON = b"CR"
_REDUCED = 1


def is_tiff(data: bytes) -> bool:
    """Not BigTIFF, which is for files of more than 4 GB."""
    return data[:4] in _ORDERS


def is_camera_raw(data: bytes) -> bool:
    tags = {tag: value for tag, _, value in _read_entries(data)}
    return data[8:10] == _CANON or _DNG_VERSION in tags or bool(tags.get(_SUBFILE_TYPE, 0) & _REDUCED)


def is_slow_tiff(data: bytes) -> bool:
    entries = list(_read_entries(data))
    return len(entries) > _MAX_ENTRIES or any(tag in _PIECES and count > _MAX_PIECES for tag, count, _ in entries)


def _read_entries(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The tag, count and value (or its offset) of each entry; none of a damaged directory."""
    order = _ORDERS[data[:4]]
    at = struct.unpack_from(f"{order}I", data, 4)[0] if len(data) >= 8 else len(data)
    if at + 2 > len(data):
        return
    (count,) = struct.unpack_from(f"{order}H", data, at)
    for number in range(count):
        start = at + 2 + 12 * number
        if start + 12 > len(data):
            return
        tag, kind, length = struct.unpack_from(f"{order}HHI", data, start)
        is_short = kind == 3
        yield tag, length, struct.unpack_from(f"{order}{'H' if is_short else 'I'}", data, start + 8)[0]
