"""Sessions of `/mcp`, apart by caller: nobody reaches the session of another key, even by its id.

All of a caller's sessions, streams and calls end when the key is revoked, or the server stops.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version

from fastapi import Request
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from adapters.mcp.library_log import confine_library_log
from adapters.mcp.message_check import check_message
from adapters.mcp.open_sessions import OpenSessions
from adapters.mcp.tool_backend import ToolBackend
from adapters.mcp.tool_calls import ToolCalls
from adapters.mcp.tool_server import Context, build_server
from adapters.mcp.usecase_backend import UseCaseBackend
from adapters.web.auth import Caller, watch_access
from adapters.web.context import WebContext
from adapters.web.problems import Problem, RequestRefused, to_problem
from bot.errors import ShuttingDown, Unauthorized
from bot.ports import Person

MAX_CALLERS = 256
MAX_SESSIONS = 16
"""Of one caller. A new one ends the least recently used one that has no request under way."""
IDLE_S = 30 * 60.0
"""How long a session, and then a caller without one, is kept."""

SESSION_HEADER, VERSION_HEADER = "mcp-session-id", "mcp-protocol-version"
OLDEST = HANDSHAKE_PROTOCOL_VERSIONS[0]
_SMALL = 256 * 1024
"""Bytes of a body that is checked without a thread."""
_Key = tuple[str, str, bool]


class SessionsByCaller:
    def __init__(self, context: WebContext) -> None:
        confine_library_log()
        self._context = context
        self._by_caller: dict[_Key, CallerSessions] = {}

    async def check_body(self, body: bytes) -> bytes | None:
        """The answer to a body that is no message of the protocol; None: it is one."""
        checked = check_message(body) if len(body) < _SMALL else await asyncio.to_thread(check_message, body)
        return None if checked.refusal is None else checked.refusal.model_dump_json(exclude_unset=True).encode()

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
        )
        server = build_server(self._calls, self._backend.list_commands, version("easel"), self._is_ending)
        self._manager = StreamableHTTPSessionManager(
            server,
            session_idle_timeout=IDLE_S,
            max_sessions=MAX_SESSIONS,
            max_request_body_size=2**62,  # the mount has read it within its own limit
        )
        self._open_sessions = OpenSessions(MAX_SESSIONS)
        self._opening = asyncio.Lock()
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

    def _is_ending(self, call: Context) -> bool:
        session_id = call.request.headers.get(SESSION_HEADER, "") if call.request is not None else ""
        is_over = bool(session_id) and session_id not in self._open_sessions
        return is_over or self.has_ended or self.context.closing.is_set()

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
        handling = asyncio.ensure_future(self._handle(scope, receive, response.send))
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

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        session_id = headers.get(SESSION_HEADER, "")
        if scope["method"] == "DELETE":
            self._open_sessions.remove(session_id)
        is_opening = not session_id and headers.get(VERSION_HEADER, OLDEST) in HANDSHAKE_PROTOCOL_VERSIONS

        async def note_session(message: Message) -> None:
            if is_opening and message["type"] == "http.response.start" and message["status"] < HTTPStatus.BAD_REQUEST:
                self._open_sessions.add(Headers(raw=message["headers"]).get(SESSION_HEADER, ""))
            await send(message)

        if is_opening and scope["method"] == "POST":
            async with self._opening:  # one after another: each counts before the next one
                await self._end_excess(scope)
                await self._manager.handle_request(scope, receive, note_session)
            return
        with self._open_sessions.using(session_id):
            await self._manager.handle_request(scope, receive, note_session)

    async def _end_excess(self, scope: Scope) -> None:
        """By a request as its program should have sent it."""
        oldest = self._open_sessions.find_excess()
        if oldest is None:
            return
        self._open_sessions.remove(oldest)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_message: Message) -> None:
            pass

        deletion = {**scope, "method": "DELETE", "headers": [(SESSION_HEADER.encode(), oldest.encode())]}
        await self._manager.handle_request(deletion, receive, send)

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
