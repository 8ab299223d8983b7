"""The page, the REST API and server-sent events.

Requests are passed to use cases and their results become JSON; no decisions are made here. The web framework is
imported only when `Web` is, so reading the settings costs nothing.
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
