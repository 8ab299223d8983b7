"""Which connections are open, and whether another one may be accepted.

A connection is idle until the headers of a request are complete, and again after its response. When the server is full,
the connection that has been idle for the longest time makes room.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Protocol

import structlog

log = structlog.get_logger()

REPORT_INTERVAL_S = 60.0
"""Refused connections are logged at most once in this time, with their number."""
IPV6_NETWORK_BITS = 64
"""One customer of a provider has at least a /64, so that is what counts as one address."""


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """Limits of one server. Deadlines are in seconds."""

    max_connections: int = 1000
    max_per_address: int = 100
    """Not applied to loopback addresses, from which a proxy on this machine connects; 0: no limit."""
    header_timeout_s: float = 15.0
    """For a request's headers, from the connection or the previous response."""
    body_timeout_s: float = 20.0
    """For a request's body, plus the time that `min_body_rate` allows for what was received."""
    min_body_rate: int = 16 * 1024
    """Bytes per second."""
    response_timeout_s: float = 60.0
    """A client that reads nothing of a response for this long is disconnected."""


class OpenConnection(Protocol):
    def abort(self) -> None: ...


class OccasionalReport:
    """Decides when a frequent event is logged: at most once per interval, with the number since the last report."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._count = 0
        self._due_at = 0.0

    def add_event(self) -> int:
        """The number to report now; 0: report nothing yet."""
        self._count += 1
        if self._now() < self._due_at:
            return 0
        count, self._count = self._count, 0
        self._due_at = self._now() + REPORT_INTERVAL_S
        return count


class ConnectionRegistry:
    """All open connections of a server, by address, and the idle ones in the order in which they became idle."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._addresses: dict[OpenConnection, str] = {}
        self._counts: Counter[str] = Counter()
        self._idle: dict[OpenConnection, None] = {}
        self._refusals = OccasionalReport()

    def __len__(self) -> int:
        return len(self._addresses)

    def has_space(self, host: str) -> bool:
        """Whether a connection from `host` may be opened, if necessary after closing an idle one."""
        name = group_address(host)
        limit = self.limits.max_per_address
        if limit and self._counts[name] >= limit and not _is_loopback(name):
            self._report_refusal("address")
            return False
        if len(self._addresses) < self.limits.max_connections or self.close_idle():
            return True
        self._report_refusal("all")
        return False

    def _report_refusal(self, limit: str) -> None:
        if count := self._refusals.add_event():
            log.warning("Connections were refused: too many are open", action="http.refused", limit=limit, count=count)

    def close_idle(self) -> bool:
        """Close the connection that has been idle for the longest time. False: none is idle."""
        if not self._idle:
            return False
        oldest = next(iter(self._idle))
        self.remove(oldest)
        oldest.abort()
        return True

    def add(self, connection: OpenConnection, host: str) -> None:
        name = group_address(host)
        self._addresses[connection] = name
        self._counts[name] += 1
        self._idle[connection] = None

    def remove(self, connection: OpenConnection) -> None:
        """Idempotent."""
        self._idle.pop(connection, None)
        name = self._addresses.pop(connection, None)
        if name is not None:
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]

    def mark_idle(self, connection: OpenConnection) -> None:
        self._idle.pop(connection, None)
        if connection in self._addresses:
            self._idle[connection] = None

    def mark_busy(self, connection: OpenConnection) -> None:
        self._idle.pop(connection, None)


def group_address(host: str) -> str:
    """What counts as one address: an IPv4 address, also if it is mapped into IPv6, or an IPv6 network."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if not address.is_loopback:
            return str(IPv6Address(int(address) >> (128 - IPV6_NETWORK_BITS) << (128 - IPV6_NETWORK_BITS)))
    return str(address)


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
