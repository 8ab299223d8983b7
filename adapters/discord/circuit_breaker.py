"""Stops sending long before Discord would ban the address: it allows 10,000 refused requests in 10 minutes."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import aiohttp
import structlog

from bot.ports.platform_answers import PlatformError

log = structlog.get_logger()

WINDOW_S = 600.0
MAX_REFUSALS = 1000
"""Refusals in `WINDOW_S`: a tenth of Discord's limit."""
COUNTED_STATUSES = (401, 403, 429)


class CircuitBreaker:
    """Counts refusals; while it is open, nothing is sent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, limit: int = MAX_REFUSALS) -> None:
        self._clock = clock
        self._limit = limit
        self._refused: deque[float] = deque()
        self._was_open = False

    def count_status(self, status: int) -> None:
        if status in COUNTED_STATUSES:
            self._refused.append(self._clock())

    def check(self) -> None:
        """Raises: PlatformError while it is open."""
        now = self._clock()
        while self._refused and now - self._refused[0] > WINDOW_S:
            self._refused.popleft()
        is_open = len(self._refused) >= self._limit
        if is_open and not self._was_open:
            log.error("Discord refused too many requests; sending is paused", action="discord_breaker_open")
        self._was_open = is_open
        if is_open:
            again_s = WINDOW_S - (now - self._refused[-self._limit])
            raise PlatformError("too many requests were refused", retry_after_s=max(1.0, again_s))

    def trace_config(self) -> aiohttp.TraceConfig:
        """Counts the status of every response that the library receives."""
        traced = aiohttp.TraceConfig()

        async def ended(_session: Any, _context: Any, request: aiohttp.TraceRequestEndParams) -> None:
            self.count_status(request.response.status)

        traced.on_request_end.append(ended)
        return traced
