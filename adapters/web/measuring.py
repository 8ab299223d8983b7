"""Measures every request: its route, status and duration, what is under way, and open streams."""

import time
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.metrics.prometheus_metrics import OTHER, HttpMetrics

_METHODS = {"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"}
CLIENT_GONE = 499
"""The status where the client hung up before there was one. Source: nginx."""


class MeasuringMiddleware:
    """Around all others, so that it sees the status that a client sees. `mounts`: paths of applications, which are the
    pattern of requests to the path itself."""

    def __init__(self, app: ASGIApp, *, metrics: HttpMetrics, mounts: Collection[str] = ()) -> None:
        self._app = app
        self._metrics = metrics
        self._mounts = frozenset(mounts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = _Response(send, self._metrics)
        root = scope.get("root_path", "")
        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, response.send)
            finally:
                method = scope["method"] if scope["method"] in _METHODS else OTHER
                path = scope["path"]
                route = path if path in self._mounts else route_pattern(scope, root)
                self._metrics.count_request(method, route, response.status, response.end())


class _Response:
    """What is sent to the client, and since when."""

    def __init__(self, send: Send, metrics: HttpMetrics) -> None:
        self._send = send
        self._metrics = metrics
        self._started_at = time.perf_counter()
        self._stream_s: float | None = None
        self.status = CLIENT_GONE

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream"):
                self._stream_s = time.perf_counter() - self._started_at
                self._metrics.streams.inc()
        await self._send(message)

    def end(self) -> float:
        """Seconds to the end of the response, or to the beginning of a stream."""
        if self._stream_s is None:
            return time.perf_counter() - self._started_at
        self._metrics.streams.dec()
        return self._stream_s


def route_pattern(scope: Scope, root: str = "") -> str:
    """The route's pattern, never the URL itself: ids and search terms must not appear in metrics and logs.

    With the path that its application is mounted at; `root`: the server's own root path.
    """
    route = scope.get("route")
    pattern = str(getattr(route, "path_format", None) or getattr(route, "path", None) or "")
    mounted = str(scope.get("root_path", "")).removeprefix(root)
    return mounted + pattern or OTHER
