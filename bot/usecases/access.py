"""Ends what is still open when a key is revoked or a person is forgotten."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

KEYLESS = "keyless"
"""The access of requests without a key, which ends when the first key is created."""


class AccessWatch:
    """Connects event streams with the access that they were opened with: a key's prefix, a person's id, `KEYLESS`."""

    def __init__(self) -> None:
        self._open: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def watch(self, *names: str) -> Iterator[asyncio.Event]:
        """An event that is set when one of the names loses its access."""
        ended = asyncio.Event()
        for name in names:
            self._open[name].add(ended)
        try:
            yield ended
        finally:
            for name in names:
                self._open[name].discard(ended)
                if not self._open[name]:
                    del self._open[name]

    def end(self, name: str) -> None:
        for ended in self._open.get(name, set()):
            ended.set()
