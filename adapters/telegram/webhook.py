"""Receives updates that Telegram posts: constant-time secret check, bounded body, stored, then status 200."""

import asyncio
import contextlib
import hmac
import json
import secrets
import socket
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import structlog
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect
from telegram import Bot

from adapters.http_server import ConnectionLimits, EmbeddedServer, server_config
from adapters.telegram.message_parsing import readable_update
from adapters.telegram.polling import ALLOWED_UPDATES, is_for_bot
from adapters.telegram.settings import TelegramSettings
from adapters.telegram.update_handler import UpdateHandler
from adapters.telegram.update_types import update_id_of
from bot.errors import StartupError, StorageBusy, StorageFull

log = structlog.get_logger()
MAX_BODY = 2**20
SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"
MAX_CONNECTIONS = 40


class Webhook:
    """`secret` empty: a random one is registered with Telegram. `keep_trying` repeats a call until it succeeds."""

    def __init__(
        self,
        bot: Bot,
        update_handler: UpdateHandler,
        settings: TelegramSettings,
        secret: str,
        keep_trying: Callable[[Callable[[], Awaitable[object]]], Awaitable[None]],
    ) -> None:
        self._bot = bot
        self._update_handler = update_handler
        self._settings = settings
        self._keep_trying = keep_trying
        self._secret = secret or secrets.token_urlsafe(32)

    async def run(self) -> None:
        """Until cancelled. Raises: StartupError."""
        listener = self._bind()
        config = server_config(self.app(), shutdown_grace_s=3, keep_alive_s=30)
        server = EmbeddedServer(config, ConnectionLimits())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await self._keep_trying(self._register)
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await serving
            listener.close()

    async def _register(self) -> None:
        await self._bot.set_webhook(
            self._settings.webhook_url,
            secret_token=self._secret,
            allowed_updates=ALLOWED_UPDATES,
            max_connections=MAX_CONNECTIONS,
            drop_pending_updates=False,
        )

    def app(self) -> FastAPI:
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.add_api_route(urlsplit(self._settings.webhook_url).path or "/", self._receive_update, methods=["POST"])
        return app

    async def _receive_update(self, request: Request) -> Response:
        shown = request.headers.get(SECRET_HEADER, "")
        if not hmac.compare_digest(shown.encode("utf-8", "replace"), self._secret.encode()):
            return Response(status_code=403)
        try:
            body = await _read(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is left to read it
        if body is None:
            return Response(status_code=413)
        raw = _parse(body)
        if raw is None:
            return Response(status_code=400)
        update = readable_update(raw)
        if update is None or not is_for_bot(update, self._bot.id, self._bot.username):
            return Response()
        try:
            await self._update_handler.save_update(update)
        except (StorageBusy, StorageFull) as error:
            log.warning("an update could not be stored", action="webhook_refused", code=error.code)
            return Response(status_code=503)
        return Response()

    def _bind(self) -> socket.socket:
        host, port = self._settings.webhook_listen, self._settings.webhook_port
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            if hasattr(socket, "AF_UNIX"):
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(128)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            raise StartupError(
                f"The webhook cannot listen at {host}, port {port} ({error.strerror}): "
                "set EASEL_TELEGRAM__WEBHOOK_LISTEN and EASEL_TELEGRAM__WEBHOOK_PORT."
            ) from error
        return listener


async def _read(request: Request) -> bytes | None:
    """None: larger than any update, whatever its header says."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


def _parse(body: bytes) -> dict[str, Any] | None:
    """None: not an update. One that cannot be read is accepted, or Telegram would post it again for a day."""
    try:
        raw = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return raw if update_id_of(raw) is not None else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
