"""Serves the web adapter inside the caller's event loop, on a socket that is bound before anything is promised."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator

import uvicorn

from adapters.web.app import build_app
from adapters.web.context import House
from adapters.web.settings import WebSettings
from bot.errors import StartupError
from bot.usecases import Surroundings

GRACE_S = 3
"""How long open requests may finish at a stop, seconds; streams are told to end at once."""
KEEP_ALIVE_S = 30


class Web:
    name = "web"

    def __init__(self, settings: WebSettings, surroundings: Surroundings) -> None:
        self._settings = settings
        self._surroundings = surroundings
        max_upload = surroundings.usecases.media.settings.max_upload_mb * 2**20
        self._house = House(settings, surroundings, max_upload)

    async def run(self) -> None:
        """Serve until cancelled. Raises: StartupError."""
        await self._refuse_an_open_door()
        listener = await _bind(self._settings)
        port = listener.getsockname()[1]
        server = _Server(_config(self._house), lambda: self._tell(port))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await asyncio.shield(serving)
        finally:
            self._house.closing.set()
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await serving
            listener.close()

    async def _refuse_an_open_door(self) -> None:
        if not self._house.is_private and not await self._house.has_keys():
            raise StartupError(
                f"Others could reach {self._settings.host}, so an API key is needed first: run `easel keys create`, "
                "or set EASEL_WEB__HOST to 127.0.0.1."
            )

    def _tell(self, port: int) -> None:
        url = f"http://{_reachable(self._settings.host)}:{port}"
        self._surroundings.publish(url)
        self._surroundings.announce(f"The page: {url}/")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: stopping is the caller's to decide."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()


def _config(house: House) -> uvicorn.Config:
    return uvicorn.Config(
        build_app(house),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",  # at "info" uvicorn logs addresses, and they hold what people search for
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )


def _reachable(host: str) -> str:
    """The name under which this machine reaches a server that listens at `host`."""
    everywhere = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
    name = everywhere.get(host, host)
    return f"[{name}]" if ":" in name else name


async def _bind(settings: WebSettings) -> socket.socket:
    """A bound socket. Raises: StartupError."""
    host, port = settings.host, settings.port
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return _bound(family, address)
    except socket.gaierror as error:
        raise StartupError(f"There is no address {host}: set EASEL_WEB__HOST to one of this machine.") from error
    except OSError as error:
        raise StartupError(_why(error, host, port)) from error


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "AF_UNIX"):  # on Windows this option would let a second server take the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken: stop the other program, or set EASEL_WEB__PORT."
    if error.errno == errno.EACCES:
        return f"Port {port} on {host} needs more rights than this program has: set EASEL_WEB__PORT to 1024 or above."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"This machine has no address {host}: set EASEL_WEB__HOST to one that it has."
    return f"Listening at {host}, port {port} failed: {error.strerror}."
