"""The page, REST and server-sent events.

Nothing here decides anything: requests become use cases, and what they say becomes JSON.
"""

from adapters.web.server import Web, WebSettings

__all__ = ["Web", "WebSettings"]
