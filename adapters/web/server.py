"""Serves the web adapter in the caller's event loop, on a socket that is bound before the address is announced."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator

import uvicorn

from adapters.web.app import build_app
from adapters.web.context import WebContext
from adapters.web.settings import WebSettings
from bot.errors import StartupError
from bot.usecases import AdapterContext

SHUTDOWN_GRACE_S = 3
"""Seconds that open requests have to finish at shutdown; streams end immediately."""
KEEP_ALIVE_TIMEOUT_S = 30


class Web:
    name = "web"

    def __init__(self, settings: WebSettings, adapter_context: AdapterContext) -> None:
        self._settings = settings
        self._adapter_context = adapter_context
        max_upload = adapter_context.usecases.media.max_upload_mb * 2**20
        self._context = WebContext(settings, adapter_context, max_upload)

    async def serve(self) -> None:
        """Serve until cancelled. Raises: StartupError."""
        await self._require_key_if_public()
        listener = await _bind(self._settings)
        port = listener.getsockname()[1]
        server = _EmbeddedServer(_uvicorn_config(self._context), lambda: self._announce(port))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await asyncio.shield(serving)
        finally:
            self._context.closing.set()
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await serving
            listener.close()

    async def _require_key_if_public(self) -> None:
        if not self._context.is_private and not await self._context.has_keys():
            raise StartupError(
                f"{self._settings.host} is reachable from other machines, so an API key is required first: run "
                "`easel keys create`, or set EASEL_WEB__HOST to 127.0.0.1."
            )

    def _announce(self, port: int) -> None:
        url = f"http://{_reachable_host(self._settings.host)}:{port}"
        self._adapter_context.publish_address(url)
        self._adapter_context.announce(f"The page: {url}/")


class _EmbeddedServer(uvicorn.Server):
    """uvicorn without its signal handlers: the caller decides when to stop."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()


def _uvicorn_config(context: WebContext) -> uvicorn.Config:
    return uvicorn.Config(
        build_app(context),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",  # at "info" uvicorn logs URLs, which contain people's search terms
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )


def _reachable_host(host: str) -> str:
    """The host name that reaches, from this machine, a server listening on `host`."""
    everywhere = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
    name = everywhere.get(host, host)
    return f"[{name}]" if ":" in name else name


async def _bind(settings: WebSettings) -> socket.socket:
    """A bound socket. Raises: StartupError."""
    host, port = settings.host, settings.port
    loop = asyncio.get_running_loop()
    try:
        addresses = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = addresses[0]
        return _bind_address(family, address)
    except socket.gaierror as error:
        raise StartupError(f"Unknown host {host}: set EASEL_WEB__HOST to an address of this machine.") from error
    except OSError as error:
        raise StartupError(_bind_error(error, host, port)) from error


def _bind_address(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "AF_UNIX"):  # on Windows this option would let a second server bind the same port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _bind_error(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use: stop the other program, or set EASEL_WEB__PORT."
    if error.errno == errno.EACCES:
        return f"No permission to use port {port} on {host}: set EASEL_WEB__PORT to 1024 or higher."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine: set EASEL_WEB__HOST to one that is."
    return f"Cannot listen on {host}, port {port}: {error.strerror}."
