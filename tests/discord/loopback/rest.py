"""The loopback Discord's REST side: what the adapter calls, answered as Discord answers, refusals included."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.discord.loopback import commands, rules
from tests.discord.loopback.bodies import cut, json_answer, read_body
from tests.discord.loopback.discord_server_state import (
    ATTACH,
    DM,
    GROUP,
    HISTORY,
    MIB,
    SEND,
    THREAD,
    THREADS,
    VIEW,
    Attachment,
    Call,
    Channel,
    DiscordServerState,
    Interaction,
    Message,
)
from tests.discord.loopback.limits import Limits

MAX_REQUEST = 25 * MIB
TOKEN_S = 15 * 60
ANSWER_S = 3.0
NONCE_S = 300.0


class Refused(Exception):
    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.body = status, {"code": code, "message": message}


@dataclass
class Fault:
    """Something that goes wrong with the next requests that match.

    `how`: a status to answer with, "drop" (cut before anything is done), "lose" (done, but the answer never comes),
    "hang" (no answer). `about`: text that the body must have.
    """

    method: str
    path: str
    how: int | str
    times: int = 1
    code: int = 0
    delay_s: float = 0.0
    about: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    page: str | None = None
    """What a proxy answers instead of Discord, as `content_type`."""
    content_type: str = "text/html"

    def meets(self, call: Call) -> bool:
        is_there = self.method == call.method and re.search(self.path, call.path) is not None
        return is_there and self.about in json.dumps(call.body)


Route = Callable[..., Awaitable[tuple[int, Any]]]


class Rest:
    def __init__(self, state: DiscordServerState) -> None:
        self.state = state
        self.limits = Limits()
        self.faults: list[Fault] = []
        self.cdn_failures = 0
        self.fetched: list[str] = []
        """Files that somebody asked for."""
        self.routes: list[tuple[str, re.Pattern[str], Route]] = [
            ("GET", re.compile("/users/@me"), self.me),
            ("GET", re.compile("/oauth2/applications/@me"), self.application),
            ("GET", re.compile("/gateway/bot"), self.gateway),
            ("GET", re.compile(r"/applications/(\d+)/commands"), self.commands),
            ("PUT", re.compile(r"/applications/(\d+)/commands"), self.put_commands),
            ("POST", re.compile("/users/@me/channels"), self.open_dm),
            ("GET", re.compile(r"/channels/(\d+)"), self.channel),
            ("POST", re.compile(r"/channels/(\d+)/messages"), self.post),
            ("GET", re.compile(r"/channels/(\d+)/messages/(\d+)"), self.get),
            ("PATCH", re.compile(r"/channels/(\d+)/messages/(\d+)"), self.patch),
            ("DELETE", re.compile(r"/channels/(\d+)/messages/(\d+)"), self.delete),
            ("POST", re.compile(r"/interactions/(\d+)/([^/]+)/callback"), self.callback),
            ("POST", re.compile(r"/webhooks/(\d+)/([^/]+)"), self.follow_up),
            ("PATCH", re.compile(r"/webhooks/(\d+)/([^/]+)/messages/([^/]+)"), self.patch_hook),
            ("DELETE", re.compile(r"/webhooks/(\d+)/([^/]+)/messages/([^/]+)"), self.delete_hook),
        ]

    # ------------------------------------------------------------ the way in

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = re.sub(r"^/api/v\d+", "", request.path)
        body, files, is_multipart = await read_body(request)
        call = Call(request.method, path, body, files, query=dict(request.query))
        self.state.calls.append(call)
        broken = rules.check(call.method, path, body, request.query, list(files), is_multipart)
        self.state.problems += broken
        fault = next((one for one in self.faults if one.meets(call)), None)
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)
            await asyncio.sleep(fault.delay_s)
            if isinstance(fault.how, int):
                call.status = fault.how
                headers = {"Via": "1.1 google", **fault.headers}
                if fault.page is not None:
                    return web.Response(
                        text=fault.page, status=fault.how, headers=headers, content_type=fault.content_type
                    )
                told = {"code": fault.code, "message": "as the test wants it", "retry_after": 0.3, "global": False}
                return json_answer(told, status=fault.how, headers=headers)
            if fault.how == "hang":
                await asyncio.sleep(3600)
            if fault.how == "drop":
                return cut(request)
        headers, wait_s, is_global = self.limits.check(call.method, path)
        if wait_s is not None:
            call.status = 429
            told = {"message": "You are being rate limited.", "retry_after": wait_s, "global": is_global}
            return json_answer(told, status=429, headers={**headers, "Via": "1.1 google"})
        try:
            call.status, answer = await self.answer(request, call)
        except Refused as refused:
            call.status, answer = refused.status, refused.body
        if fault is not None and fault.how == "lose":
            return cut(request)
        if call.status == 204:
            return web.Response(status=204, headers=headers)
        return json_answer(answer, status=call.status, headers=headers)

    async def answer(self, request: web.Request, call: Call) -> tuple[int, Any]:
        needs_token = not call.path.startswith(("/interactions", "/webhooks"))
        if needs_token and request.headers.get("Authorization") != f"Bot {self.state.token}":
            raise Refused(401, 0, "401: Unauthorized")
        for method, pattern, route in self.routes:
            match = pattern.fullmatch(call.path)
            if match and method == call.method:
                return await route(call, *match.groups())
        raise Refused(404, 0, f"404: Not Found {call.method} {call.path}")

    async def cdn(self, request: web.Request) -> web.StreamResponse:
        self.fetched.append(request.match_info["rest"])
        if self.cdn_failures > 0:
            self.cdn_failures -= 1
            return web.Response(status=502)
        found = self.state.files.get(request.match_info["rest"])
        if found is None or found.expires < self.state.now():
            return web.Response(status=404, text="This content is no longer available.")
        return web.Response(body=found.data, content_type=found.content_type or "application/octet-stream")

    # ------------------------------------------------------------ about the bot

    async def me(self, call: Call) -> tuple[int, Any]:
        return 200, self.state.bot.json() | {"mfa_enabled": False, "verified": True, "email": None, "flags": 0}

    async def application(self, call: Call) -> tuple[int, Any]:
        about: dict[str, Any] = {
            "id": str(self.state.application_id),
            "name": "Easel",
            "icon": None,
            "description": "",
            "summary": "",
        }
        about |= {"bot_public": True, "bot_require_code_grant": False, "verify_key": "k", "flags": 0, "owner": None}
        return 200, about | {"owner": self.state.person("owner").json(), "team": None}

    async def gateway(self, call: Call) -> tuple[int, Any]:
        limit = {"total": 1000, "remaining": 999, "reset_after": 1, "max_concurrency": 1}
        url = self.state.base.replace("http", "ws") + "/gateway/"
        return 200, {"url": url, "shards": 1, "session_start_limit": limit}

    async def commands(self, call: Call, _application: str) -> tuple[int, Any]:
        if call.query.get("with_localizations") == "true":
            return 200, self.state.commands
        return 200, [commands.in_one_language(one) for one in self.state.commands]

    async def put_commands(self, call: Call, application: str) -> tuple[int, Any]:
        self.state.commands = [commands.kept(one, self.state.new_id(), application) for one in call.body]
        return 200, self.state.commands

    # ------------------------------------------------------------ messages

    async def open_dm(self, call: Call) -> tuple[int, Any]:
        return 200, self.state.dm(self.state.people[int(call.body["recipient_id"])]).json()

    def _channel(self, channel_id: str, needs: int = VIEW) -> Channel:
        channel = self.state.channels.get(int(channel_id))
        if channel is None:
            raise Refused(404, 10003, "Unknown Channel")
        if channel.kind == GROUP or (channel.guild is not None and not channel.guild.has_bot):
            raise Refused(403, 50001, "Missing Access")
        if channel.kind != DM:
            if not channel.permissions & VIEW:
                raise Refused(403, 50001, "Missing Access")
            if needs & SEND and channel.kind == THREAD:
                needs = needs & ~SEND | THREADS
            if needs & ~channel.permissions:
                raise Refused(403, 50013, "Missing Permissions")
        return channel

    async def channel(self, call: Call, channel_id: str) -> tuple[int, Any]:
        return 200, self._channel(channel_id).json()

    async def post(self, call: Call, channel_id: str) -> tuple[int, Any]:
        body = call.body or {}
        channel = self._channel(channel_id, VIEW | SEND | (ATTACH if call.files else 0))
        if channel.kind == DM and channel.people[0].blocks_bot:
            raise Refused(403, 50007, "Cannot send messages to this user")
        if channel.is_locked:
            raise Refused(400, 160005, "Thread is locked")
        key = (channel.id, str(body.get("nonce")))
        known = self.state.nonces.get(key)
        if body.get("enforce_nonce") and known and self.state.now() - known[0] < NONCE_S:
            return 200, known[1].json()
        reference = body.get("message_reference") or {}
        reply_to = int(reference["message_id"]) if reference else None
        if reply_to is not None and reply_to not in channel.messages:
            if reference.get("fail_if_not_exists", True):
                raise Refused(400, 50035, "Invalid Form Body: MESSAGE_REFERENCE_UNKNOWN_MESSAGE")
            reply_to = None
        message = self.state.post(channel, self.state.bot, reply_to=reply_to, nonce=body.get("nonce"))
        self._fill(message, call, limit=self._limit(channel))
        if body.get("nonce") is not None:
            self.state.nonces[key] = (self.state.now(), message)
        self._dispatch("MESSAGE_CREATE", message)
        return 200, message.json()

    def _limit(self, channel: Channel) -> int:
        return channel.guild.size_limit if channel.guild else 10 * MIB

    def _fill(self, message: Message, call: Call, *, limit: int) -> None:
        """What a body says becomes the message's. Raises: Refused, before anything changes."""
        body = call.body or {}
        sizes = [len(data) for data in call.files.values()]
        if sum(sizes) > MAX_REQUEST or any(size > limit for size in sizes):
            self._forget(message)
            raise Refused(413, 40005, "Request entity too large")
        kept = {str(one.id): one for one in message.attachments}
        if body.get("attachments") is not None:
            message.attachments = [self._attachment(one, kept, call.files) for one in body["attachments"]]
        if body.get("content") is not None:
            message.content = body["content"]
        if body.get("components") is not None:
            message.components = body["components"]
        if body.get("flags") is not None:
            message.flags = body["flags"]
        if not message.content and not message.attachments:
            self._forget(message)
            raise Refused(400, 50006, "Cannot send an empty message")

    def _forget(self, message: Message) -> None:
        if not message.content and not message.attachments:
            message.channel.messages.pop(message.id, None)

    def _attachment(self, said: dict[str, Any], kept: dict[str, Attachment], files: dict[str, bytes]) -> Attachment:
        if str(said["id"]) in kept:
            return kept[str(said["id"])]
        data = files[f"files[{said['id']}]"]
        made = self.state.file(said.get("filename") or f"file{said['id']}", data)
        made.description = said.get("description")
        return made

    def _message(self, channel: Channel, message_id: str) -> Message:
        message = channel.messages.get(int(message_id))
        if message is None or message.ephemeral_for is not None:
            raise Refused(404, 10008, "Unknown Message")
        return message

    async def get(self, call: Call, channel_id: str, message_id: str) -> tuple[int, Any]:
        message = self._message(self._channel(channel_id, VIEW | HISTORY), message_id)
        return 200, message.json(is_blank=self.state.is_blank(message))

    async def patch(self, call: Call, channel_id: str, message_id: str) -> tuple[int, Any]:
        channel = self._channel(channel_id, VIEW)
        message = self._message(channel, message_id)
        if message.author is not self.state.bot:
            raise Refused(403, 50005, "Cannot edit a message authored by another user")
        if channel.is_locked:
            raise Refused(400, 50083, "Thread is archived")
        if self.state.now() - message.created > 3600:
            late = message.extra.setdefault("_late", 0)
            if late >= self.state.edits_after_an_hour:
                raise Refused(400, 30046, "Maximum number of edits to messages older than 1 hour reached")
            message.extra["_late"] = late + 1
        self._fill(message, call, limit=self._limit(channel))
        message.edits.append(call.body)
        return 200, message.json()

    async def delete(self, call: Call, channel_id: str, message_id: str) -> tuple[int, Any]:
        message = self._message(self._channel(channel_id), message_id)
        if message.author is not self.state.bot:
            raise Refused(403, 50013, "Missing Permissions")
        self.state.remove(message)
        return 204, None

    # ------------------------------------------------------------ interactions

    def _interaction(self, token: str) -> Interaction:
        found = self.state.interactions.get(token)
        if found is None or self.state.now() - found.created > TOKEN_S:
            raise Refused(401, 50027, "Invalid Webhook Token")
        return found

    async def callback(self, call: Call, _interaction_id: str, token: str) -> tuple[int, Any]:
        found = self.state.interactions.get(token)
        if found is None or self.state.now() - found.created > ANSWER_S:
            raise Refused(404, 10062, "Unknown interaction")
        if found.answers:
            raise Refused(400, 40060, "Interaction has already been acknowledged.")
        kind, data = call.body["type"], call.body.get("data") or {}
        found.answers.append(call.body)
        found.answered_after_s = self.state.now() - found.created
        if kind in (4, 5):
            is_hidden = bool(data.get("flags", 0) & 64)
            hidden = found.person if is_hidden else None
            message = Message(
                self.state.new_id(), found.channel, self.state.bot, webhook=token, ephemeral_for=hidden,
                created=self.state.now(),
            )  # fmt: skip
            found.channel.messages[message.id] = message
            found.original, found.is_deferred, found.is_thinking = message, kind == 5, kind == 5
            found.messages.append(message)
            if kind == 4:
                self._fill(message, Call(call.method, call.path, data, call.files), limit=10 * MIB)
        elif kind in (6, 7):
            found.original = found.message
            if kind == 7 and found.message:
                self._fill(found.message, Call(call.method, call.path, data, call.files), limit=10 * MIB)
        found.changed.set()
        told: dict[str, Any] = {"id": str(found.id), "type": found.kind, "response_message_ephemeral": False}
        if found.original is not None:
            told["response_message_id"] = str(found.original.id)
        return 200, {"interaction": told, "resource": {"type": kind}}

    async def follow_up(self, call: Call, _application: str, token: str) -> tuple[int, Any]:
        found = self._interaction(token)
        if not found.answers:
            raise Refused(404, 10015, "Unknown Webhook")
        body = call.body or {}
        if found.is_thinking and found.original is not None:
            found.is_thinking = False
            message = found.original
        else:
            hidden = found.person if body.get("flags", 0) & 64 else None
            message = Message(
                self.state.new_id(), found.channel, self.state.bot, webhook=token, ephemeral_for=hidden,
                created=self.state.now(),
            )  # fmt: skip
            found.channel.messages[message.id] = message
            found.messages.append(message)
        self._fill(message, call, limit=self._limit(found.channel))
        found.changed.set()
        return 200, message.json()

    def _hook_message(self, token: str, message_id: str) -> tuple[Interaction, Message]:
        found = self._interaction(token)
        if not found.answers:
            raise Refused(404, 10015, "Unknown Webhook")
        if message_id == "@original":
            message = found.original
        else:
            message = next((one for one in found.messages if str(one.id) == message_id), None)
        if message is None or message.id not in message.channel.messages:
            raise Refused(404, 10008, "Unknown Message")
        return found, message

    async def patch_hook(self, call: Call, _application: str, token: str, message_id: str) -> tuple[int, Any]:
        found, message = self._hook_message(token, message_id)
        self._fill(message, call, limit=self._limit(found.channel))
        message.edits.append(call.body)
        found.is_thinking = False
        found.changed.set()
        return 200, message.json()

    async def delete_hook(self, call: Call, _application: str, token: str, message_id: str) -> tuple[int, Any]:
        found, message = self._hook_message(token, message_id)
        self.state.remove(message)
        found.messages = [one for one in found.messages if one is not message]
        found.is_thinking = False
        found.changed.set()
        return 204, None

    def _dispatch(self, name: str, message: Message) -> None:
        if self.state.on_event is not None:
            self.state.on_event(name, message.json(is_blank=self.state.is_blank(message)))
