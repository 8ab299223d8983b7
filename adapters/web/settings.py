"""The settings of the web adapter, in a module of their own so that reading them imports no web framework."""

from dataclasses import dataclass
from typing import ClassVar

from bot.settings.core import Bounds


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """`[web]` in the config."""

    bounds: ClassVar[Bounds] = {
        "port": (0, 65535),
        **dict.fromkeys(("max_connections", "max_uploads", "max_uploads_per_person"), (1, None)),
        **dict.fromkeys(("header_timeout_s", "body_timeout_s"), (0.05, None)),
        "mcp_wait_s": (0, 3600),
    }

    enabled: bool = True
    """Serve the page and REST. If disabled, one-shot commands cannot use the running server."""
    host: str = "127.0.0.1"
    """Address to listen on. Any other than loopback requires an API key (`easel keys create`)."""
    port: int = 8000
    """Port to listen on; 0 picks a free port."""
    max_connections: int = 1000
    """Maximum number of open connections; the open-file limit may allow fewer. An idle one makes room for a new one."""
    max_connections_per_address: int = 100
    """Maximum number of open connections of one address that is not loopback; 0: no limit."""
    header_timeout_s: float = 15.0
    """A request's headers must arrive within this time, seconds."""
    body_timeout_s: float = 20.0
    """A request's body must arrive within this time, plus a second for each 16 KiB received."""
    max_uploads: int = 64
    """Maximum number of concurrent uploads."""
    max_uploads_per_person: int = 20
    """Maximum number of concurrent uploads of one person, and of one address that is not loopback."""
    max_requests_per_key: int = 100
    """Maximum number of concurrent requests with one API key, event streams included; 0: no limit."""
    mcp_wait_s: float = 45.0
    """How long a call of an MCP tool waits for its job before it answers with the job's id, seconds."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of websites whose pages may call the APIs of other programs (not the page's own), with a key."""
    metrics_token: str = ""
    """The bearer token for `/metrics`; without one, only admins and programs on this machine may read them."""
