"""Starts the loopback Discord on 127.0.0.1. `python -m tests.discord.loopback.server` runs it by itself."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import web

from tests.discord.loopback.discord_server_state import DiscordServerState
from tests.discord.loopback.gateway import Gateway
from tests.discord.loopback.rest import Fault, Rest


@dataclass
class Loopback:
    state: DiscordServerState
    rest: Rest
    gateway: Gateway
    runner: web.AppRunner | None = None
    port: int = 0
    sites: list[web.TCPSite] = field(default_factory=list)

    @property
    def api_base(self) -> str:
        return f"{self.state.base}/api/v10"

    @property
    def gateway_url(self) -> str:
        return self.state.base.replace("http", "ws") + "/gateway/"

    def fail(self, method: str, path: str, how: int | str, **more: object) -> Fault:
        """The next matching request (or `times` of them) goes wrong."""
        fault = Fault(method, path, how, **more)  # type: ignore[arg-type]
        self.rest.faults.append(fault)
        return fault

    async def start(self) -> None:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/gateway/", self.gateway.handle)
        app.router.add_get("/cdn/attachments/1/{rest:.*}", self.rest.cdn)
        app.router.add_route("*", "/api/{rest:.*}", self.rest.handle)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handle_signals=False)
        await self.runner.setup()
        await self.listen()

    async def listen(self) -> None:
        assert self.runner is not None
        site = web.TCPSite(self.runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self.runner.addresses[0][1]
        self.state.base = f"http://127.0.0.1:{self.port}"
        self.sites.append(site)

    async def vanish(self) -> None:
        """Nobody listens any more, as in an outage; `listen` ends it."""
        self.gateway.drop()
        while self.sites:
            await self.sites.pop().stop()
        assert self.runner is not None
        assert self.runner.server is not None
        for connection in self.runner.server.connections:  # those that were kept for later requests
            if connection.transport is not None:
                connection.transport.abort()

    async def stop(self) -> None:
        self.gateway.drop()
        if self.runner is not None:
            await self.runner.cleanup()


@contextlib.asynccontextmanager
async def loopback(port: int = 0) -> AsyncIterator[Loopback]:
    state = DiscordServerState()
    server = Loopback(state, Rest(state), Gateway(state), port=port)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
