"""A small Bot API server on loopback: real sockets, real limits, and faults on demand.

Each request is held against the official description (`rules.json`); `problems` must stay empty. `refused` are the 429s
that its limits gave, so `floods.refused` must stay empty too unless a test wants a flood.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession, web

from tests.telegram.flood_limits import FloodLimits
from tests.telegram.methods import Methods, Refused, unpacked
from tests.telegram.rules import problems_of
from tests.telegram.telegram_server_state import TelegramServerState


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request as it came."""

    method: str
    params: dict[str, Any]
    files: dict[str, bytes]
    at: float
    status: int

    @property
    def chat(self) -> int:
        return int(self.params.get("chat_id", 0))


@dataclass(kw_only=True)
class Fault:
    """What happens to requests instead of (or after) their work.

    Attributes:
        method: a regular expression for the whole name.
        chat: only requests to this chat.
        times: how many requests it still hits.
        status: of the answer; 0 drops the connection.
        afterwards: the work is done first, so that only the answer is lost.
        delay_s: how long it takes before anything happens.
        until: nothing happens before this.
        page: what a proxy answers instead of Telegram.
    """

    method: str = ".*"
    chat: int | None = None
    times: int = 1
    status: int = 0
    description: str = "made up"
    parameters: dict[str, Any] = field(default_factory=dict)
    afterwards: bool = False
    delay_s: float = 0.0
    until: asyncio.Event | None = None
    page: str | None = None
    hits: int = 0

    def fits(self, method: str, params: dict[str, Any]) -> bool:
        is_here = self.chat is None or self.chat == params.get("chat_id")
        return self.hits < self.times and is_here and re.fullmatch(self.method, method) is not None


class BotServer:
    """Everything on one loopback port. `scale` shortens the spans of its limits."""

    def __init__(self, *, scale: float = 1.0) -> None:
        self.state = TelegramServerState()
        self.methods = Methods(self.state)
        self.flood_limits = FloodLimits(lambda: asyncio.get_running_loop().time(), scale)
        self.calls: list[Call] = []
        self.problems: list[str] = []
        self.faults: list[Fault] = []
        self.fetched: list[str] = []
        self.is_slow_s = 0.0
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._pushing: asyncio.Task[None] | None = None

    @property
    def token(self) -> str:
        return self.state.token

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self.port}/bot"

    @property
    def file_base(self) -> str:
        return f"http://127.0.0.1:{self.port}/file/bot"

    def called(self, method: str, chat: int | None = None) -> list[Call]:
        """Requests that were not refused, by a regular expression of their methods."""
        done = [call for call in self.calls if call.status == 200 and re.fullmatch(method, call.method)]
        return [call for call in done if chat in (None, call.chat)]

    def fail(self, **fault: Any) -> Fault:
        made = Fault(**fault)
        self.faults.append(made)
        return made

    # ------------------------------------------------------------ coming and going

    async def start(self) -> None:
        """Listen; again at the same port after `stop`."""
        app = web.Application(client_max_size=60 * 2**20)
        app.router.add_route("*", "/bot{token}/{method}", self._handle)
        app.router.add_get("/file/bot{token}/{path:.*}", self._file)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._pushing = asyncio.create_task(self._push())

    async def stop(self) -> None:
        """Nobody answers any more: connections are refused."""
        if self._pushing is not None:
            self._pushing.cancel()
            await asyncio.wait([self._pushing])
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # ------------------------------------------------------------ requests

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        params, files = await self._read(request)
        self.problems += problems_of(method, params, files)
        params = unpacked(params)
        fault = next((one for one in self.faults if one.fits(method, params)), None)
        await asyncio.sleep(self.is_slow_s if method != "getUpdates" else 0)
        if fault is not None:
            fault.hits += 1
            await asyncio.sleep(fault.delay_s)
            await (fault.until.wait() if fault.until is not None else asyncio.sleep(0))
            if fault.page is not None:
                self._note(method, params, files, fault.status)
                return web.Response(text=fault.page, status=fault.status, content_type="text/html")
        try:
            if request.match_info["token"] != self.token:
                raise Refused(401, "Unauthorized")
            if fault is None or fault.afterwards or fault.status == 200:
                answer = await self._work(method, params, files)
            if fault is not None and fault.status != 200:
                raise Refused(fault.status, fault.description, **fault.parameters)
        except Refused as refused:
            return self._refuse(request, method, params, files, refused)
        self._note(method, params, files, 200)
        return web.json_response({"ok": True, "result": answer}, dumps=_dumps)

    async def _work(self, method: str, params: dict[str, Any], files: dict[str, bytes]) -> Any:
        do: Callable[..., Any] | None = getattr(self.methods, method, None)
        if do is None:
            raise Refused(404, "Not Found")
        wait_s = self.flood_limits.check(int(params.get("chat_id", 0)), method)
        if wait_s:
            raise Refused(429, f"Too Many Requests: retry after {wait_s}", retry_after=wait_s)
        return await do(params, files)

    def _refuse(
        self, request: web.Request, method: str, params: dict[str, Any], files: dict[str, bytes], refused: Refused
    ) -> web.StreamResponse:
        self._note(method, params, files, refused.code)
        if not refused.code:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        body: dict[str, Any] = {"ok": False, "error_code": refused.code, "description": refused.description}
        if refused.parameters:
            body["parameters"] = refused.parameters
        return web.json_response(body, status=refused.code)

    def _note(self, method: str, params: dict[str, Any], files: dict[str, bytes], status: int) -> None:
        now = asyncio.get_running_loop().time()
        self.calls.append(Call(method=method, params=params, files=files, at=now, status=status))

    async def _read(self, request: web.Request) -> tuple[dict[str, Any], dict[str, bytes]]:
        params: dict[str, Any] = dict(request.query)
        files = {}
        if request.content_type == "application/json":
            params |= await request.json()
        else:
            for name, value in (await request.post()).items():
                if isinstance(value, web.FileField):
                    with value.file as file:
                        files[name] = file.read()
                    self.methods.names[name] = value.filename
                else:
                    params[name] = value
        return params, files

    async def _file(self, request: web.Request) -> web.StreamResponse:
        file_id = request.match_info["path"].rpartition("/")[2]
        fault = next((one for one in self.faults if one.fits("file", {})), None)
        if fault is not None:
            fault.hits += 1
            await (fault.until.wait() if fault.until is not None else asyncio.sleep(0))
            return web.Response(status=fault.status or 502, text=fault.page)
        if request.match_info["token"] != self.token or file_id not in self.state.files:
            return web.json_response({"ok": False, "error_code": 404, "description": "Not Found"}, status=404)
        self.fetched.append(file_id)
        return web.Response(body=self.state.files[file_id])

    # ------------------------------------------------------------ the webhook

    async def _push(self) -> None:
        """Post waiting updates to the webhook, in order, each until it was taken."""
        async with ClientSession() as session:
            while True:
                await asyncio.sleep(0.02)
                while self.methods.webhook and self.state.updates:
                    if not await self._pushed(session, self.state.updates[0]):
                        break
                    self.state.updates.pop(0)

    async def _pushed(self, session: ClientSession, update: dict[str, Any]) -> bool:
        headers = {
            "X-Telegram-Bot-Api-Secret-Token": self.methods.webhook["secret"],
            "Content-Type": "application/json",
        }
        with contextlib.suppress(ClientError):
            async with session.post(self.methods.webhook["url"], data=_dumps(update), headers=headers) as answer:
                return answer.status == 200
        return False


def _dumps(value: Any) -> str:
    return json.dumps(value, default=lambda _bytes: None)


@asynccontextmanager
async def run_bot_server(*, scale: float = 1.0) -> AsyncIterator[BotServer]:
    server = BotServer(scale=scale)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
