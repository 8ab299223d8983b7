"""Middleware for every request: security headers and a response even if a route fails.

Plain ASGI, because Starlette's BaseHTTPMiddleware would delay streams and disconnections.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.web.authorization import read_authorization
from adapters.web.measuring import route_pattern
from adapters.web.page_problems import show_problem
from adapters.web.problems import Problem, incident_problem
from adapters.web.session_cookie import read_session

DRAIN_TIMEOUT_S = 3.0
DRAIN_MAX_BYTES = 64 * 2**20

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types lit-html"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": (
        "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), "
        "microphone=(), midi=(), payment=(), screen-wake-lock=(), usb=(), xr-spatial-tracking=()"
    ),
}


class GuardMiddleware:
    """Adds security headers, and turns exceptions into a problem with an incident code."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

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
            pass  # there is no client left to respond to
        except Exception as error:  # the outermost handler: the client gets a response, the log the details
            problem = incident_problem(error, f"{scope['method']} {route_pattern(scope)}")
            if not status:
                await show_problem(scope, problem)(scope, receive, guarded)


FindKey = Callable[[str], str | None]
FormProblem = Callable[[Problem], ASGIApp]


class KeyLimitMiddleware:
    """Limits the concurrent requests per API key, so one person's event streams cannot use all connections."""

    def __init__(
        self, app: ASGIApp, *, limit: int, find_key: FindKey, find_session: FindKey, forms: Mapping[str, FormProblem]
    ) -> None:
        """`find_key` and `find_session` return a key's prefix: by the key itself, and by the token of one of its
        sessions. `forms`: by path, how APIs below it show a problem."""
        self._app = app
        self._forms = forms
        self._limit = limit
        self._find_key = find_key
        self._find_session = find_session
        self._counts: Counter[tuple[str, str]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = self._names_of(scope, Headers(scope=scope)) if scope["type"] == "http" and self._limit else []
        if any(self._counts[name] >= self._limit for name in names):
            sentence = "Too many requests with this API key are under way. Try again when one has ended."
            problem = Problem("too_many_requests", sentence, headers={"Retry-After": "2"})
            form = next((form for path, form in self._forms.items() if scope["path"].startswith(f"{path}/")), None)
            await (form(problem) if form is not None else problem)(scope, receive, send)
            return
        self._counts.update(names)
        try:
            await self._app(scope, receive, send)
        finally:
            self._counts.subtract(names)
            for name in names:
                if not self._counts[name]:
                    del self._counts[name]

    def _names_of(self, scope: Scope, headers: Headers) -> list[tuple[str, str]]:
        """What the caller shows and, once that was checked, its key: nobody takes up another person's limit by the
        prefix of their key, and the requests that began before the check count too."""
        header = headers.get("authorization")
        if header is not None:
            text = _shown_key(str(scope["path"]), header)
            if text is not None:
                return _names("bearer", text, self._find_key(text))
        token = read_session(scope, headers)
        return [] if token is None else _names("session", token, self._find_session(token))


def _shown_key(path: str, header: str) -> str | None:
    """As `read_bearer` reads it, however the header is spelled."""
    try:
        return read_authorization(path, header)
    except ValueError:
        return header.partition(" ")[2].strip()


def _names(kind: str, shown: str, prefix: str | None) -> list[tuple[str, str]]:
    return [(kind, shown)] if prefix is None else [(kind, shown), ("key", prefix)]


class LingeringCloseMiddleware:
    """Lets a client that is still sending a body receive the response.

    Closing the connection immediately would reset it, and the response could be lost. The rest of the body is therefore
    read and discarded first, up to a limit.
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

        async def send_after_drain(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_read:
                MutableHeaders(scope=message)["Connection"] = "close"
            if message["type"] != "http.response.body" or message.get("more_body") or is_read:
                await send(message)
                return
            await send({**message, "more_body": True})
            await _drain_body(watched, lambda: is_read)
            await send({"type": "http.response.body", "body": b""})

        await self._app(scope, watched, send_after_drain)


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    if headers.get(b"expect", b"").lower() == b"100-continue":
        return False  # the client sends nothing before it gets permission
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


async def _drain_body(receive: Receive, is_read: Callable[[], bool]) -> None:
    received = 0
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while not is_read() and received < DRAIN_MAX_BYTES:
                message = await receive()
                received += len(message.get("body", b""))
    except TimeoutError:
        return
