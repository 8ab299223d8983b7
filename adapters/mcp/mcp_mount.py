"""`/mcp`: checks each request's key and where it comes from, then hands it to the caller's sessions.

Importing this module does not import the library, which is optional: the first request does.
"""

import asyncio
import importlib
from http import HTTPStatus
from importlib.util import find_spec
from typing import Any

from fastapi import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.web.auth import Caller, get_client_caller, read_bearer
from adapters.web.bodies import read_limited
from adapters.web.context import WebContext
from adapters.web.problems import Problem, RequestRefused, to_problem
from adapters.web.session_cookie import require_own_page
from bot.errors import UserError

NOT_INSTALLED = (
    "This server has no MCP: the owner can install it with `.venv/bin/uv pip install -e '.[mcp]'` in Easel's folder, "
    "then restart."
)
IMAGES_PER_REQUEST = 2
"""Images of the largest size that a request may have, in base64; the rest of them is uploaded or smaller."""
MAX_COMMAS = 20_000
"""Of a request: the number of its values is below that, and base64 has none."""
_SMALL = 256 * 1024
"""Bytes of a request that is read without waiting for a place among the uploads."""


def build_mcp(context: WebContext) -> ASGIApp:
    return McpMount(context)


class McpMount:
    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._sessions: Any = None
        self._importing = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            if scope["path"].removeprefix(scope.get("root_path", "")).strip("/") not in ("", "mcp"):
                raise RequestRefused("not_found", "There is no such URL.")
            if find_spec("mcp") is None:
                raise RequestRefused("not_found", NOT_INSTALLED)
            if request.headers.get("origin") not in self._context.settings.allowed_origins:
                require_own_page(scope, request.headers)
            caller = await get_client_caller(request, self._context, read_bearer(request) or "")
            body = await self._read_body(request, caller) if request.method == "POST" else b""
            sessions = await self._find_sessions()
            if request.method == "POST" and (refusal := await sessions.check_body(body)) is not None:
                handle: ASGIApp = Response(refusal, HTTPStatus.BAD_REQUEST, media_type="application/json")
            else:
                handle = await sessions.of(request, caller)
        except RequestRefused as refused:
            await Problem(refused.code, refused.sentence, headers=refused.headers)(scope, receive, send)
        except UserError as error:
            await to_problem(error)(scope, receive, send)
        else:
            await handle(scope, _replay(body, receive), send)

    async def _read_body(self, request: Request, caller: Caller) -> bytes:
        """Raises: RequestRefused."""
        limit = int((IMAGES_PER_REQUEST * self._context.max_upload_bytes + 2**20) * 4 / 3)
        too_large = RequestRefused("too_large", f"The request is too large: at most {limit // 2**20} MiB.")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) <= _SMALL:
            body = b"".join([chunk async for chunk in read_limited(request, limit, too_large)])
        else:
            with self._context.uploads.receiving(request, caller.person.id):
                body = b"".join([chunk async for chunk in read_limited(request, limit, too_large)])
        if body.count(b",") + body.count(b"[") > MAX_COMMAS:
            raise RequestRefused("too_large", "The request has too many values.")
        return body

    async def _find_sessions(self) -> Any:
        async with self._importing:
            if self._sessions is None:
                module = await asyncio.to_thread(importlib.import_module, "adapters.mcp.caller_sessions")
                self._sessions = module.SessionsByCaller(self._context)
        return self._sessions


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body that was read, then what the client does next."""
    is_sent = False

    async def replayed() -> Any:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
