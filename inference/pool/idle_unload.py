"""Unloads a device's models: all idle ones on request, and each that was not used for a given time."""

import asyncio
from collections.abc import Callable, Collection

import structlog

from bot.ports import UnloadResult
from inference.ipc import messages

_log = structlog.get_logger("inference")
UNLOAD_TIMEOUT_S = 60.0
"""How long a request waits for a child that is loading a model."""
Send = Callable[[messages.UnloadModels], None]


class IdleTracker:
    """When each model of a device was last used, and the pending requests to unload idle models.

    `after_s`: a model that was not used for this long is unloaded; 0: never. Times are monotonic seconds.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._used_at: dict[str, float] = {}
        self._requests: list[asyncio.Future[UnloadResult]] = []

    def mark_used(self, model: str, now: float) -> None:
        self._used_at[model] = now

    def idle_models(self, loaded: Collection[str], running: Collection[str], now: float) -> tuple[str, ...]:
        """The models to unload because they were not used. A newly loaded model counts as used."""
        self._used_at = {name: self._used_at.get(name, now) for name in loaded}
        for name in running:
            if name in self._used_at:
                self._used_at[name] = now
        if not self._after_s:
            return ()
        idle = tuple(name for name, used_at in self._used_at.items() if now - used_at >= self._after_s)
        for name in idle:
            self._used_at[name] = now  # returned once, not on every call
        return idle

    async def request_unload(self, send: Send) -> UnloadResult:
        """Let the child unload all idle models. The result is empty if the child exits or takes too long."""
        request: asyncio.Future[UnloadResult] = asyncio.get_running_loop().create_future()
        self._requests.append(request)
        send(messages.UnloadModels())
        try:
            async with asyncio.timeout(UNLOAD_TIMEOUT_S):
                return await request
        except TimeoutError:
            return UnloadResult()
        finally:
            self._requests.remove(request)

    def on_unloaded(self, result: UnloadResult) -> None:
        """The child has unloaded models, or has exited."""
        if result.models:
            _log.info("Models were unloaded", action="released", models=list(result.models), mb=result.freed_mb)
        for request in self._requests:
            if not request.done():
                request.set_result(result)
