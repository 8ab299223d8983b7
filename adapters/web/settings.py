"""The settings of the web adapter. They stand apart so that reading a config imports no web framework."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """`[web]` in the config."""

    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {"port": (0, 65535)}

    enabled: bool = True
    """Serve the page and REST. Without it, one-shot commands cannot go through the running server."""
    host: str = "127.0.0.1"
    """Where to listen. Anything but loopback is refused while no API key exists (`easel keys create`)."""
    port: int = 8000
    """Where to listen; 0 picks a free port."""
