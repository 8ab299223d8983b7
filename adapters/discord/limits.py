"""Discord's limits for messages and files."""

MAX_CONTENT = 2000
MAX_ALT = 1024
MAX_FILES = 10
MIB = 2**20
FILE_LIMIT = 10 * MIB
"""Bytes of a file, where Discord does not say more."""
REQUEST_LIMIT = 25 * MIB
ENVELOPE_BYTES = 128 * 1024
"""Of a request, reserved for everything that is not a file."""


def max_file_bytes(limit: int, count: int) -> int:
    """Bytes that each of `count` files may have to fit in one request together."""
    return min(limit or FILE_LIMIT, (REQUEST_LIMIT - ENVELOPE_BYTES) // max(1, count))
