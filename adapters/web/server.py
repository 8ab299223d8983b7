"""Serves the web adapter in the caller's event loop, on a socket that is bound before the address is announced."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Mapping
from types import MappingProxyType

from adapters.http_server import ConnectionLimits, EmbeddedServer, server_config
from adapters.web.app import BuildMount, build_app
from adapters.web.context import WebContext
from adapters.web.cross_origin import find_wrong_origin
from adapters.web.settings import WebSettings
from adapters.web.uploads import UploadReceiver
from bot.errors import StartupError
from bot.options import clean_excerpt
from bot.usecases import AdapterContext

SHUTDOWN_GRACE_S = 3
"""Seconds that open requests have to finish at shutdown; streams end immediately."""
KEEP_ALIVE_TIMEOUT_S = 30
NO_KEY = "No API key: every program on this machine is an admin. Before you set up a proxy, run `easel keys create`."


class Web:
    name = "web"

    def __init__(
        self,
        settings: WebSettings,
        adapter_context: AdapterContext,
        mounts: Mapping[str, BuildMount] = MappingProxyType({}),
    ) -> None:
        self._settings = settings
        self._mounts = mounts
        self._adapter_context = adapter_context
        media = adapter_context.usecases.media
        max_upload, max_heic = media.max_upload_mb * 2**20, media.max_file_mb * 2**20
        uploads = UploadReceiver(settings, adapter_context.data_dir, max_upload, max_heic)
        self._context = WebContext(settings, adapter_context, max_upload, uploads)

    async def serve(self) -> None:
        """Serve until cancelled. Raises: StartupError."""
        _require_origins(self._settings)
        await self._require_key_if_public()
        is_keyless = not await self._context.needs_key()
        listener = await _bind(self._settings)
        port = listener.getsockname()[1]
        config = server_config(
            build_app(self._context, self._mounts), shutdown_grace_s=SHUTDOWN_GRACE_S, keep_alive_s=KEEP_ALIVE_TIMEOUT_S
        )
        server = EmbeddedServer(
            config, _connection_limits(self._settings), lambda: self._announce(port, is_keyless=is_keyless)
        )
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

    def _announce(self, port: int, *, is_keyless: bool) -> None:
        url = f"http://{_reachable_host(self._settings.host)}:{port}"
        self._adapter_context.publish_address(url)
        if is_keyless:
            self._adapter_context.announce(NO_KEY)
        self._adapter_context.announce(f"The page: {url}/")


def _require_origins(settings: WebSettings) -> None:
    """Raises: StartupError."""
    wrong = find_wrong_origin(settings.allowed_origins)
    if wrong is not None:
        raise StartupError(
            f"web.allowed_origins has “{clean_excerpt(wrong, 60)}”, which is not an origin. Write each one as browsers "
            "send it, in lower case and without a path, such as https://studio.example or http://localhost:5173. There "
            "is no wildcard."
        )


def _connection_limits(settings: WebSettings) -> ConnectionLimits:
    return ConnectionLimits(
        max_connections=settings.max_connections,
        max_per_address=settings.max_connections_per_address,
        header_timeout_s=settings.header_timeout_s,
        body_timeout_s=settings.body_timeout_s,
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
