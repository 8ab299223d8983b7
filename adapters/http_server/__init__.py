"""An HTTP server for strangers: uvicorn with deadlines and limits, in the caller's event loop."""

from adapters.http_server.connections import ConnectionLimits
from adapters.http_server.server import EmbeddedServer, server_config

__all__ = ["ConnectionLimits", "EmbeddedServer", "server_config"]
