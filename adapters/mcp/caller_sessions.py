"""Sessions of `/mcp`, apart by caller: nobody reaches the session of another key, even by its id.

All of a caller's sessions, streams and calls end when the key is revoked, or the server stops.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version

from fastapi import Request
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Message, Receive, Scope, Send

from adapters.mcp.library_log import confine_library_log
from adapters.mcp.tool_backend import ToolBackend
from adapters.mcp.tool_calls import ToolCalls
from adapters.mcp.tool_server import build_server
from adapters.mcp.usecase_backend import UseCaseBackend
from adapters.web.auth import Caller, watch_access
from adapters.web.context import WebContext
from adapters.web.problems import Problem, RequestRefused, to_problem
from bot.errors import ShuttingDown, Unauthorized
from bot.ports import Person

MAX_CALLERS = 256
MAX_SESSIONS = 16
"""Of one caller. Programs that do not end theirs leave them until they time out."""
IDLE_S = 30 * 60.0
"""How long a session, and then a caller without one, is kept."""

_Key = tuple[str, str, bool]


class SessionsByCaller:
    def __init__(self, context: WebContext) -> None:
        confine_library_log()
        self._context = context
        self._by_caller: dict[_Key, CallerSessions] = {}

    async def of(self, request: Request, caller: Caller) -> "CallerSessions":
        """Raises: RequestRefused: too many callers; ShuttingDown."""
        if self._context.closing.is_set():
            raise ShuttingDown
        key = (caller.person.id, caller.key, caller.is_keyless)
        found = self._by_caller.get(key)
        if found is None or found.has_ended:
            self._drop_unused()
            if len(self._by_caller) >= MAX_CALLERS:
                raise RequestRefused("too_many_requests", "Too many programs are connected.", retry_after_s=60)
            found = self._by_caller[key] = CallerSessions(self._context, caller)
            found.start(request)
        found.caller = caller
        return found

    def _drop_unused(self) -> None:
        for key, one in list(self._by_caller.items()):
            if one.has_ended or one.is_unused:
                one.stop()
                del self._by_caller[key]


@dataclass
class CallerSessions:
    """`caller`: as the latest request showed it, which may have lost rights since the first."""

    context: WebContext
    caller: Caller
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: int = 0
    _used_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    def __post_init__(self) -> None:
        usecases = self.context.usecases
        self._backend = UseCaseBackend(usecases, self._identify, self.context.uploads.decoding)
        self._calls = ToolCalls(
            open_backend=self._open_backend,
            wait_s=self.context.settings.mcp_wait_s,
            is_closing=self.context.closing.is_set,
        )
        server = build_server(self._calls, self._backend.list_commands, version("easel"))
        self._manager = StreamableHTTPSessionManager(
            server,
            session_idle_timeout=IDLE_S,
            max_sessions=MAX_SESSIONS,
            max_request_body_size=2**62,  # the mount has read it within its own limit
        )
        self._is_lost = asyncio.Event()
        self._is_ready = asyncio.Event()

    def start(self, request: Request) -> None:
        self._running = asyncio.create_task(self._run(request), name="mcp sessions")

    def stop(self) -> None:
        self._ended.set()

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    @property
    def is_unused(self) -> bool:
        return not self._under_way and asyncio.get_running_loop().time() - self._used_at > IDLE_S

    async def _run(self, request: Request) -> None:
        """Until the server stops, the caller loses access or `stop`."""
        try:
            async with watch_access(request, self.context, self.caller) as lost, self._manager.run():
                self._is_lost = lost
                if lost.is_set():
                    return
                self._is_ready.set()
                ends = [asyncio.ensure_future(one.wait()) for one in (self.context.closing, lost, self._ended)]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for one in ends:
                    one.cancel()
                self._ended.set()
        finally:
            self._ended.set()
            self._is_ready.set()

    async def _identify(self) -> tuple[Person, bool]:
        return self.caller.person, self.caller.is_admin

    @asynccontextmanager
    async def _open_backend(self) -> AsyncIterator[ToolBackend]:
        yield self._backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; if its sessions end meanwhile, the response ends too."""
        await self._is_ready.wait()
        response = _StartedResponse(send)
        if self.has_ended:  # between the check of the key and this
            await self._end_response(scope, receive, response)
            return
        self._under_way += 1
        handling = asyncio.ensure_future(self._manager.handle_request(scope, receive, response.send))
        ending = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait([handling, ending], return_when=asyncio.FIRST_COMPLETED)
            if handling.done():
                handling.result()
                return
            handling.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await handling
            await self._end_response(scope, receive, response)
        finally:
            ending.cancel()
            handling.cancel()
            self._under_way -= 1
            self._used_at = asyncio.get_running_loop().time()

    async def _end_response(self, scope: Scope, receive: Receive, response: "_StartedResponse") -> None:
        if not response.is_started:
            problem: Problem = to_problem(Unauthorized() if self._is_lost.is_set() else ShuttingDown())
            await problem(scope, receive, response.send)
        elif not response.is_complete:
            await response.send({"type": "http.response.body", "body": b"", "more_body": False})


class _StartedResponse:
    """Passes a response on, and remembers how far it is."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.is_started = self.is_complete = False

    async def send(self, message: Message) -> None:
        self.is_started = True
        self.is_complete = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)
