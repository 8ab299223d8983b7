"""Which bytes of an SQLite page hold nothing. Source: sqlite.org/fileformat2.html, "B-tree Pages"."""

from collections.abc import Iterator

HEADER_SIZE = 100
"""Bytes before the header of the first page."""
MAX_PAGES = 0x0200_0000
"""With so many pages (128 GiB), the first byte of an overflow page can equal the type of a b-tree page."""
_LEAVES, _INTERIOR = (10, 13), (2, 5)
_CELL_POINTERS_AT = {**dict.fromkeys(_LEAVES, 8), **dict.fromkeys(_INTERIOR, 12)}
"""By the page's type: size of its header. Pages of other types have no unused space within them."""


def page_size(header: bytes) -> int:
    size = int.from_bytes(header[16:18], "big")
    return 65536 if size == 1 else size


def has_pointer_maps(header: bytes) -> bool:
    """Whether the database is in auto-vacuum mode: pages of its pointer map start with numbers that b-trees use too."""
    return any(header[52:56])


def unused_ranges(page: memoryview, *, is_first: bool) -> Iterator[tuple[int, int]]:
    """The ranges `(first, end)` of a b-tree page that belong to no cell; none for other pages.

    Outside auto-vacuum mode, a page of another kind starts with a page number, whose highest byte is too small to be a
    type below `MAX_PAGES`. A page that contradicts itself is left alone.
    """
    header = HEADER_SIZE if is_first else 0
    if page[header] not in _CELL_POINTERS_AT:
        return
    cells = _number(page, header + 3)
    content = _number(page, header + 5) or 65536
    pointers_end = header + _CELL_POINTERS_AT[page[header]] + 2 * cells
    if not pointers_end <= content <= len(page):
        return
    yield pointers_end, content
    block = _number(page, header + 1)
    while block:
        following, size = _number(page, block), _number(page, block + 2)
        if block < content or block + size > len(page) or (following and following < block + size):
            return
        yield block + 4, block + size
        block = following


def _number(page: memoryview, offset: int) -> int:
    return int.from_bytes(page[offset : offset + 2], "big")
