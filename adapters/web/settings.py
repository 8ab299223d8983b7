"""The settings of the web adapter, in a module of their own so that reading them imports no web framework."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """`[web]` in the config."""

    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {"port": (0, 65535)}

    enabled: bool = True
    """Serve the page and REST. If disabled, one-shot commands cannot use the running server."""
    host: str = "127.0.0.1"
    """Address to listen on. Any other than loopback requires an API key (`easel keys create`)."""
    port: int = 8000
    """Port to listen on; 0 picks a free port."""
