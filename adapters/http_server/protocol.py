"""uvicorn's HTTP/1.1 protocol with deadlines, for clients that may be hostile or gone.

Each connection has at most one timer, for what it is waiting for: headers, or a body.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from adapters.http_server.connections import ConnectionRegistry
from adapters.http_server.request_parser import BoundedConnection

PARSED_BYTES = 16 * 1024
"""Given to the parser at a time, so that its limits apply before it has parsed everything that was received."""


class LimitedProtocol(H11Protocol):
    """A client that does not send or read in time is disconnected, and malformed input is answered without a traceback.

    A subclass for one server sets `registry` (`for_registry`), because uvicorn creates the protocols itself.
    """

    registry: ConnectionRegistry

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = BoundedConnection()
        self._limits = self.registry.limits
        self._deadline: asyncio.TimerHandle | None = None
        self._awaited = ""
        self._write_deadline: asyncio.TimerHandle | None = None
        self._body_started_at = 0.0
        self._body_bytes = 0

    @classmethod
    def for_registry(cls, registry: ConnectionRegistry) -> type["LimitedProtocol"]:
        return type("RegisteredProtocol", (cls,), {"registry": registry})

    def abort(self) -> None:
        """Close the connection now, without sending what is still in its buffer."""
        self.transport.abort()

    # ------------------------------------------------------------ the connection's events

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.registry.add(self, self.client[0] if self.client else "")
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self.registry.remove(self)
        self._clear_deadline()
        self.resume_writing()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._body_bytes += len(data)
        for start in range(0, len(data), PARSED_BYTES):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + PARSED_BYTES])

    def handle_events(self) -> None:
        super().handle_events()
        if not self._is_waiting_for_request:
            self.registry.mark_busy(self)
        self._update_deadline()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_waiting_for_request:
            self.registry.mark_idle(self)
        self._update_deadline()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_deadline = self._write_deadline or self.loop.call_later(self._limits.response_timeout_s, self.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def shutdown(self) -> None:
        try:
            super().shutdown()
        except h11.LocalProtocolError:  # the connection is already in an error state
            self.abort()

    # ------------------------------------------------------------ deadlines

    @property
    def _is_receiving_body(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY

    @property
    def _is_waiting_for_request(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _update_deadline(self) -> None:
        if self._is_receiving_body and not self.transport.is_closing():
            self._wait_for_body()
            return
        self._body_bytes = 0
        is_kept_alive = self.timeout_keep_alive_task is not None
        if self._is_waiting_for_request and not is_kept_alive and not self.transport.is_closing():
            self._wait_for_headers()
        else:
            self._clear_deadline()

    def _wait_for_headers(self) -> None:
        if self._awaited != "headers":
            self._set_deadline("headers", self._limits.header_timeout_s, self._on_headers_late)

    def _wait_for_body(self) -> None:
        if self._awaited != "body":
            self._body_started_at = self.loop.time()
            self._set_deadline("body", self._limits.body_timeout_s, self._on_body_late)

    def _set_deadline(self, awaited: str, delay_s: float, on_late: Callable[[], None]) -> None:
        self._clear_deadline()
        self._awaited, self._deadline = awaited, self.loop.call_later(delay_s, on_late)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._awaited, self._deadline = "", None

    def _on_headers_late(self) -> None:
        self._clear_deadline()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._send_408()
        self.transport.close()

    def _on_body_late(self) -> None:
        """Close the connection, unless enough was received to allow for more time or the application is not reading."""
        allowed_s = self._limits.body_timeout_s + self._body_bytes / self._limits.min_body_rate
        remaining_s = self._body_started_at + allowed_s - self.loop.time()
        if self.flow.read_paused:
            remaining_s = max(remaining_s, self._limits.body_timeout_s)
        if remaining_s > 0:
            self._set_deadline("body", remaining_s, self._on_body_late)
            return
        self._clear_deadline()
        self._disconnect_application()
        self._send_408()
        self.transport.close()

    # ------------------------------------------------------------ uvicorn's own steps

    def send_400_response(self, msg: str) -> None:
        """Only if no response was started: a malformed chunk can come after it."""
        self._disconnect_application()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _disconnect_application(self) -> None:
        """The application's reads end, and what it still sends is ignored."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _send_408(self) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        for event in (
            h11.Response(status_code=408, headers=headers, reason=b"Request Timeout"),
            h11.Data(data=b"The request was not received in time."),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
