"""h11's parser with limits on what costs more to parse than to send: it runs in the event loop, for everybody."""

import re
from typing import Any

import h11

MAX_HEADER_BYTES = 32 * 1024
"""Of a request's first line and headers, also if they arrive together."""
MAX_HEADERS = 128
FREE_CHUNKS = 500
"""Chunks of one body, however small."""
MIN_CHUNK_BYTES = 128
"""On average, of the chunks of a body that has more of them."""
_END_OF_HEADERS = re.compile(rb"\n\r?\n")


class BoundedConnection(h11.Connection):
    """Raises `h11.RemoteProtocolError` for too many headers or too small chunks, like h11 for malformed requests."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEADER_BYTES)
        self._chunks = self._chunked_bytes = 0

    def next_event(self) -> Any:
        if self.their_state is h11.IDLE:
            self._chunks = self._chunked_bytes = 0
            _check_headers(self.trailing_data[0])
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._check_chunk(event)
        return event

    def _check_chunk(self, data: h11.Data) -> None:
        self._chunks += data.chunk_start
        self._chunked_bytes += len(data.data)
        if self._chunks > FREE_CHUNKS + self._chunked_bytes // MIN_CHUNK_BYTES:
            raise h11.RemoteProtocolError("too many small chunks")


def _check_headers(received: bytes) -> None:
    """Before h11 parses them. Raises: h11.RemoteProtocolError."""
    found = _END_OF_HEADERS.search(received)
    end = found.end() if found else len(received)
    if end > MAX_HEADER_BYTES:
        raise h11.RemoteProtocolError("the headers are too long", error_status_hint=431)
    if received.count(b"\n", 0, end) > MAX_HEADERS + 2:  # the first line and the empty one
        raise h11.RemoteProtocolError("too many headers", error_status_hint=431)
