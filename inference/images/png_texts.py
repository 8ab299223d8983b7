"""Drops the texts of a PNG that are too long or damaged, and other extra chunks whose checksum is wrong: Pillow would
refuse the whole file because of one.

Programs store whole workflows as compressed text. It is unpacked here only as far as it may be read.
"""

import struct
import zlib
from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
"""Kinds of chunks with text; and the color profile, which is packed in the same way."""
_MAX_PACKED_TEXT = 2**20
"""Bytes that one compressed chunk may unpack to; Pillow's limit."""
_MAX_TEXTS = 16 * 2**20
"""Bytes of all texts together; Pillow's limit is 64 MiB."""
_NAMES_OF_PILLOW = (b"transparency", b"icc_profile", b"gamma", b"interlace", b"loop", b"duration", b"background")
"""Texts of these names would be taken for what Pillow itself reads of the image."""
_MAX_CHUNKS = 2000
"""Chunks of text. Each costs time, however short it is."""


def drop_long_texts(data: bytes) -> bytes:
    """The same PNG without what it can do without and cannot be read within the limits."""
    if not data.startswith(_SIGNATURE):
        return data
    kept: list[bytes] = []
    start, left, count = 0, _MAX_TEXTS, 0
    for kind, begin, end in _find_chunks(data):
        is_dropped = _is_extra(kind) and not _is_intact(data, begin, end)
        if kind in _TEXTS and not is_dropped:
            count += 1
            length = _measure_text(kind, data[begin + 8 : end - 4], left) if count <= _MAX_CHUNKS else None
            left -= min(left, _MAX_PACKED_TEXT) if length is None else length
            is_dropped = length is None
        if is_dropped:
            kept.append(data[start:begin])
            start = end
    return b"".join((*kept, data[start:])) if kept else data


def _find_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each complete chunk."""
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data) or kind == b"IEND":
            return
        yield kind, at, end
        at = end


def _is_extra(kind: bytes) -> bool:
    """Whether the image can be shown without such a chunk. Source: PNG specification, 5.4."""
    return bool(kind[0] & 0x20)


def _is_intact(data: bytes, begin: int, end: int) -> bool:
    return zlib.crc32(memoryview(data)[begin + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")


def _measure_text(kind: bytes, body: bytes, limit: int) -> int | None:
    """The length of a chunk's text, unpacked; None if that is over the limit, or the text cannot be read."""
    name, separator, packed = body.partition(b"\0")
    if name in _NAMES_OF_PILLOW:
        return None
    if kind == b"iTXt":
        is_packed, packed = packed[:1] == b"\1", packed[1:]
        method, packed = packed[:1], packed[1:].split(b"\0", 2)[-1]
    else:
        is_packed, method, packed = kind != b"tEXt", packed[:1], packed[1:]
    if not is_packed:
        return len(body) if len(body) <= limit else None
    return _measure_packed(packed, min(limit, _MAX_PACKED_TEXT)) if separator and method == b"\0" else None


def _measure_packed(packed: bytes, limit: int) -> int | None:
    decompressor = zlib.decompressobj()
    try:
        length = len(decompressor.decompress(packed, limit)) if limit > 0 else 0
    except zlib.error:
        return None
    return None if limit <= 0 or decompressor.unconsumed_tail else length
