"""Runs in the download worker: reads the header of a `.gguf` file on a hub by ranges, without downloading the file."""

from collections.abc import Mapping

import httpx2

from bot.model_install.gguf_header import MAX_HEADER_BYTES, GgufHeader, TruncatedHeader, parse_gguf_header

_FIRST_BYTES = 2**20
_TIMEOUT_S = 30.0


def read_remote_header(url: str, headers: Mapping[str, str], file_size: int) -> GgufHeader:
    """Raises: DamagedModelFile; httpx2's errors."""
    try:
        return parse_gguf_header(_read_start(url, headers, _FIRST_BYTES), file_size)
    except TruncatedHeader:
        return parse_gguf_header(_read_start(url, headers, MAX_HEADER_BYTES), file_size)


def _read_start(url: str, headers: Mapping[str, str], limit: int) -> bytes:
    """The first bytes, also from a server that sends the whole file."""
    wanted = {**headers, "Accept-Encoding": "identity", "Range": f"bytes=0-{limit - 1}"}
    data = bytearray()
    with (
        httpx2.Client(timeout=_TIMEOUT_S, follow_redirects=True) as client,
        client.stream("GET", url, headers=wanted) as response,
    ):
        response.raise_for_status()
        for chunk in response.iter_bytes():
            data += chunk
            if len(data) >= limit:
                break
    return bytes(data[:limit])
