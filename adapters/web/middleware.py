"""What happens to every request, whatever its route: counted, guarded, and answered even when something breaks.

Plain ASGI, because Starlette's BaseHTTPMiddleware would hold back streams and disconnections.
"""

import asyncio
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.web.context import Figures
from adapters.web.problems import incident_of

LINGER_S = 3.0
LINGER_BYTES = 64 * 2**20
_METHODS = {"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"}

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Security headers, request figures, and a problem with an incident code in place of any traceback."""

    def __init__(self, app: ASGIApp, *, figures: Figures) -> None:
        self._app = app
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith(("/api/", "/internal/")):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception as error:  # the edge: whatever a route did, the client gets an answer and the log the rest
            problem = incident_of(error, f"{scope['method']} {_route_of(scope)}")
            if not status:
                await problem(scope, receive, guarded)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._figures.requests.labels(method, _route_of(scope), str(status or 499)).inc()


def _route_of(scope: Scope) -> str:
    """The route's pattern, never the address itself: ids and search words stay out of figures and logs."""
    route = scope.get("route")
    return str(getattr(route, "path_format", None) or getattr(route, "path", None) or "other")


class Linger:
    """Lets a client that is still sending read its refusal.

    Closing at once would reset the connection and could take the answer with it, so what still comes in is thrown
    away for a moment first, up to a limit.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        is_read = False

        async def watched() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = is_read or not message.get("more_body", False)
            return message

        async def patient(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_read:
                MutableHeaders(scope=message)["Connection"] = "close"
            if message["type"] != "http.response.body" or message.get("more_body") or is_read:
                await send(message)
                return
            await send({**message, "more_body": True})
            await _throw_away(watched, lambda: is_read)
            await send({"type": "http.response.body", "body": b""})

        await self._app(scope, watched, patient)


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    if headers.get(b"expect", b"").lower() == b"100-continue":
        return False  # the client waits for our word before it sends anything
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


async def _throw_away(receive: Receive, is_read: Callable[[], bool]) -> None:
    seen = 0
    try:
        async with asyncio.timeout(LINGER_S):
            while not is_read() and seen < LINGER_BYTES:
                message = await receive()
                seen += len(message.get("body", b""))
    except TimeoutError:
        return
