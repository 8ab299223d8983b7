"""Discord's rate limits, as it enforces them: buckets by route and channel, and 50 requests a second over all."""

import re
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Bucket:
    name: str
    limit: int
    window_s: float


MESSAGES = Bucket("messages", 5, 5.0)
"""Observed: edits share it with posts."""
LENIENT = Bucket("messages", 50, 0.5)
"""For tests that are about something else."""
DELETES = Bucket("deletes", 5, 1.0)
HOOKS = Bucket("hooks", 5, 2.0)
READS = Bucket("reads", 10, 5.0)
OTHER = Bucket("other", 10, 1.0)


def bucket_of(method: str, path: str) -> tuple[Bucket, str]:
    """The bucket and the channel or token that it counts for."""
    if match := re.fullmatch(r"/channels/(\d+)/messages(/\d+)?", path):
        kind = {"DELETE": DELETES, "GET": READS}.get(method, MESSAGES)
        return kind, match.group(1)
    if match := re.match(r"/webhooks/\d+/([^/]+)", path):
        return HOOKS, match.group(1)
    return OTHER, path


@dataclass
class Limits:
    per_second: int = 50
    calls: defaultdict[tuple[str, str], deque[float]] = field(default_factory=lambda: defaultdict(deque))
    overall: deque[float] = field(default_factory=deque)
    is_lenient: bool = False
    refused: list[str] = field(default_factory=list)
    """Every request that came too soon."""

    def check(self, method: str, path: str) -> tuple[dict[str, str], float | None, bool]:
        """Headers, seconds to wait if it came too soon, and whether the limit over all said so."""
        now = time.monotonic()
        bucket, major = bucket_of(method, path)
        if self.is_lenient and bucket in (MESSAGES, READS, DELETES):
            bucket = LENIENT
        seen = self.calls[bucket.name, major]
        while seen and now - seen[0] >= bucket.window_s:
            seen.popleft()
        reset = bucket.window_s - (now - seen[0]) if seen else bucket.window_s
        is_exempt = path.startswith(("/interactions", "/webhooks"))
        if not path.startswith("/interactions"):
            while self.overall and now - self.overall[0] >= 1:
                self.overall.popleft()
            if not is_exempt and len(self.overall) >= self.per_second:
                self.refused.append(f"global {method} {path}")
                return {}, 1 - (now - self.overall[0]), True
            if len(seen) >= bucket.limit:
                self.refused.append(f"{bucket.name} {method} {path}")
                return self._headers(bucket, 0, reset), reset, False
            seen.append(now)
            if not is_exempt:
                self.overall.append(now)
        return self._headers(bucket, bucket.limit - len(seen), reset), None, False

    def _headers(self, bucket: Bucket, remaining: int, reset: float) -> dict[str, str]:
        return {
            "X-RateLimit-Bucket": f"{bucket.name}-{bucket.limit}",
            "X-RateLimit-Limit": str(bucket.limit),
            "X-RateLimit-Remaining": str(remaining),
            "X-RateLimit-Reset": f"{time.time() + reset:.3f}",
            "X-RateLimit-Reset-After": f"{reset:.3f}",
        }
