"""Lets pages of other websites call the APIs of other programs, if the settings name their origins.

They need a key: credentials are never allowed, so a browser sends no cookie with such a call, and the page's own API is
not below these paths.
"""

import re
from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_METHODS = ("GET", "POST", "DELETE")
_EXPOSED = ("Retry-After", "X-Easel-Ignored", "X-Should-Retry", "Mcp-Session-Id")
_MAX_AGE_S = 600
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_DEFAULT_PORTS = re.compile(r"(?:http://.*:80|https://.*:443)")
"""Browsers leave these out."""


class CrossOriginMiddleware:
    """Answers preflight requests and adds the headers by which browsers let a page read an answer."""

    def __init__(self, app: ASGIApp, *, origins: Collection[str], paths: Collection[str]) -> None:
        """`origins`: those of pages that may call. `paths`: below which the APIs are."""
        self._app = app
        self._paths = tuple(f"{path}/" for path in paths)
        self._shared = CORSMiddleware(
            app,
            allow_origins=tuple(origins),
            allow_methods=_METHODS,
            allow_headers=("*",),
            allow_private_network=True,
            expose_headers=_EXPOSED,
            max_age=_MAX_AGE_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_shared = scope["type"] == "http" and f"{scope['path']}/".startswith(self._paths)
        await (self._shared if is_shared else self._app)(scope, receive, send)


def find_wrong_origin(origins: Collection[str]) -> str | None:
    """The first that no browser would send, such as one with a path; None: all are right."""
    return next((one for one in origins if not _ORIGIN.fullmatch(one) or _DEFAULT_PORTS.fullmatch(one)), None)
