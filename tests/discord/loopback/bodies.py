"""What comes in and goes out over the wire, as bytes."""

import json
from typing import Any

from aiohttp import web


async def read_body(request: web.Request) -> tuple[Any, dict[str, bytes], bool]:
    if request.content_type == "multipart/form-data":
        body, files = None, {}
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            data = await part.read(decode=False)
            if part.name == "payload_json":
                body = json.loads(data)
            else:
                files[str(part.name)] = bytes(data)
        return body, files, True
    data = await request.read()
    return (json.loads(data) if data else None), {}, False


def json_answer(body: Any, *, status: int, headers: dict[str, str]) -> web.Response:
    """Its type without a charset, as Discord's own: the library compares it."""
    return web.Response(body=json.dumps(body).encode(), status=status, headers=headers, content_type="application/json")


def cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
