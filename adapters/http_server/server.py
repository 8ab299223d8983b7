"""uvicorn without its signal handlers and its accept loop: the caller stops it, and connections are limited.

asyncio's own accept loop logs a traceback for every waiting connection, each second, when no file descriptor is left.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import structlog
import uvicorn

from adapters.http_server.connections import ConnectionLimits, ConnectionRegistry, OccasionalReport
from adapters.http_server.protocol import LimitedProtocol
from bot.runtime.open_files import max_open_files

log = structlog.get_logger()

RESERVED_FILES = 256
"""File descriptors for everything but connections: database, images, pipes of the child processes."""
MIN_CONNECTIONS = 32
ACCEPT_RETRY_S = 0.2


class EmbeddedServer(uvicorn.Server):
    """`on_listening` is called once connections are accepted."""

    def __init__(
        self, config: uvicorn.Config, limits: ConnectionLimits, on_listening: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(config)
        affordable = max(MIN_CONNECTIONS, max_open_files() - RESERVED_FILES)
        limits = replace(limits, max_connections=min(limits.max_connections, affordable))
        self.registry = ConnectionRegistry(limits)
        self._on_listening = on_listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        protocol = LimitedProtocol.for_registry(self.registry)

        def create_protocol() -> asyncio.Protocol:
            return protocol(self.config, self.server_state, self.lifespan.state)

        acceptors: Any = [Acceptor(listener, create_protocol, self.registry) for listener in sockets or []]
        self.servers = acceptors
        self._on_listening()


class Acceptor:
    """Accepts connections of one listening socket; uvicorn closes it like an `asyncio.Server`."""

    def __init__(
        self, listener: socket.socket, create_protocol: Callable[[], asyncio.Protocol], registry: ConnectionRegistry
    ) -> None:
        self._listener = listener
        self._create_protocol = create_protocol
        self._registry = registry
        self._errors = OccasionalReport()
        self._task = asyncio.create_task(self._accept_forever())

    def close(self) -> None:
        self._task.cancel()

    async def wait_closed(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _accept_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._listener)
            except ConnectionError:
                continue  # the client is already gone
            except OSError as error:
                self._report_error(error)
                self._registry.close_idle()
                await asyncio.sleep(ACCEPT_RETRY_S)
                continue
            await self._open(connection, str(address[0]) if address else "")

    async def _open(self, connection: socket.socket, host: str) -> None:
        if not self._registry.has_space(host):
            connection.close()
            await asyncio.sleep(0)  # a flood of refused connections must not stop the others
            return
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._create_protocol, connection)
        except OSError as error:
            connection.close()
            self._report_error(error)

    def _report_error(self, error: OSError) -> None:
        if count := self._errors.add_event():
            name = error.strerror or type(error).__name__
            log.warning("Connections cannot be accepted", action="http.accept_failed", error=name, count=count)


def server_config(app: Any, *, shutdown_grace_s: int, keep_alive_s: int) -> uvicorn.Config:
    """uvicorn's configuration, the same for each server.

    At log level "info" uvicorn logs URLs, which contain people's search terms, and at "warning" one line for each
    malformed request.
    """
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=shutdown_grace_s,
    )
