"""The loopback Discord's gateway: zlib-stream, heartbeats, IDENTIFY, RESUME, and everything that goes wrong."""

import asyncio
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.discord.loopback.discord_server_state import ADMIN_CONTENT, DiscordServerState

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID, HELLO, ACK = 0, 1, 2, 6, 7, 9, 10, 11


@dataclass
class Session:
    id: str
    intents: int = 0
    seq: int = 0
    events: list[tuple[int, str, Any]] = field(default_factory=list)
    connection: "Connection | None" = None


@dataclass
class Connection:
    socket: web.WebSocketResponse
    request: web.Request
    packer: Any = field(default_factory=zlib.compressobj)
    heartbeats: int = 0

    async def send(self, op: int, data: Any, *, seq: int | None = None, name: str | None = None) -> None:
        text = json.dumps({"op": op, "d": data, "s": seq, "t": name})
        packed = self.packer.compress(text.encode()) + self.packer.flush(zlib.Z_SYNC_FLUSH)
        half = len(packed) // 2
        if len(packed) > 1000:  # a message may come in several frames
            await self.socket.send_bytes(packed[:half])
            packed = packed[half:]
        await self.socket.send_bytes(packed)


class Gateway:
    def __init__(self, state: DiscordServerState) -> None:
        self.state = state
        self.sessions: dict[str, Session] = {}
        self.refusals = 0
        """How many connects to turn away."""
        self.heartbeat_ms = 30_000
        self.is_mute = False
        """Heartbeats are not acknowledged."""
        self.is_speechless = False
        self.close_code = 0
        """No session gets READY."""
        self.sockets = 0
        """How many are open now."""
        self.log: list[str] = []
        """identify, resume, and what came of it."""
        self._sending: set[asyncio.Task[None]] = set()
        state.on_event = self.dispatch

    @property
    def connected(self) -> list[Session]:
        return [one for one in self.sessions.values() if one.connection is not None]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.refusals > 0:
            self.refusals -= 1
            self.log.append("refused")
            return web.Response(status=503)
        assert request.query["compress"] == "zlib-stream", request.query
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets += 1
        connection = Connection(socket, request)
        await connection.send(HELLO, {"heartbeat_interval": self.heartbeat_ms})
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._received(connection, json.loads(message.data))
        finally:
            self.sockets -= 1
            for session in self.sessions.values():
                if session.connection is connection:
                    session.connection = None
        return socket

    async def _received(self, connection: Connection, said: dict[str, Any]) -> None:
        match said["op"]:
            case 1:
                connection.heartbeats += 1
                if not self.is_mute:
                    await connection.send(ACK, None)
            case 2:
                await self._identify(connection, said["d"])
            case 6:
                await self._resume(connection, said["d"])

    async def _identify(self, connection: Connection, data: dict[str, Any]) -> None:
        self.log.append("identify")
        if self.is_speechless:
            return
        if self.close_code:
            await connection.socket.close(code=self.close_code)
            return
        if data["token"] != self.state.token:
            await connection.socket.close(code=4004, message=b"Authentication failed.")
            return
        if data["intents"] & ADMIN_CONTENT and not self.state.may_read_content:
            await connection.socket.close(code=4014, message=b"Disallowed intent(s).")
            return
        session = Session(f"session-{len(self.sessions) + 1}", data["intents"], connection=connection)
        self.sessions[session.id] = session
        guilds = [one for one in self.state.guilds.values() if one.has_bot]
        ready = {
            "v": 10,
            "user": self.state.bot.json(),
            "session_id": session.id,
            "shard": data.get("shard", [0, 1]),
            "guilds": [{"id": str(one.id), "unavailable": True} for one in guilds],
            "resume_gateway_url": self.state.base.replace("http", "ws") + "/gateway/",
            "application": {"id": str(self.state.application_id), "flags": 0},
        }
        await self._dispatch(session, "READY", ready)
        for guild in guilds:
            await self._dispatch(session, "GUILD_CREATE", guild.json())

    async def _resume(self, connection: Connection, data: dict[str, Any]) -> None:
        session = self.sessions.get(str(data["session_id"]))
        if session is None:
            self.log.append("resume refused")
            await connection.send(INVALID, False)
            return
        self.log.append("resume")
        session.connection = connection
        for seq, name, body in [one for one in session.events if one[0] > (data["seq"] or 0)]:
            await connection.send(DISPATCH, body, seq=seq, name=name)
        await self._dispatch(session, "RESUMED", {"_trace": []})

    async def _dispatch(self, session: Session, name: str, data: Any) -> None:
        session.seq += 1
        session.events.append((session.seq, name, data))
        if session.connection is not None:
            try:
                await session.connection.send(DISPATCH, data, seq=session.seq, name=name)
            except (ConnectionError, RuntimeError):  # it is buffered for a resume
                session.connection = None

    # ------------------------------------------------------------ what tests do

    def dispatch(self, name: str, data: Any) -> None:
        """Send to every session; a disconnected one gets it after it resumes."""
        for session in list(self.sessions.values()):
            task = asyncio.ensure_future(self._dispatch(session, name, data))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def drop(self) -> None:
        """Cut every connection without a word."""
        for session in self.connected:
            assert session.connection is not None
            if session.connection.request.transport is not None:
                session.connection.request.transport.abort()
            session.connection = None

    async def ask_to_reconnect(self) -> None:
        for session in self.connected:
            assert session.connection is not None
            await session.connection.send(RECONNECT, None)

    async def invalidate(self, *, is_resumable: bool) -> None:
        for session in self.connected:
            connection = session.connection
            assert connection is not None
            if not is_resumable:
                del self.sessions[session.id]
            await connection.send(INVALID, is_resumable)

    def forget_sessions(self) -> None:
        """As after hours: nothing can be resumed."""
        self.drop()
        self.sessions.clear()
