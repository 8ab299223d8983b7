"""The page, REST and server-sent events.

Nothing here decides anything: requests become use cases, and what they say becomes JSON. The web framework is
imported only when `Web` is asked for, so reading the settings costs nothing.
"""

from typing import TYPE_CHECKING, Any

from adapters.web.settings import WebSettings

if TYPE_CHECKING:
    from adapters.web.server import Web

__all__ = ["Web", "WebSettings"]


def __getattr__(name: str) -> Any:
    if name == "Web":
        from adapters.web.server import Web

        return Web
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
