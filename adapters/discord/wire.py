"""The only place that touches names of discord.py which its documentation does not promise."""

import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

OFFICIAL_API = Route.BASE
OFFICIAL_GATEWAY = DiscordWebSocket.DEFAULT_GATEWAY


def point_at(api_base: str, gateway_url: str) -> None:
    """Send everything to this server, else (both empty) to Discord itself. For the whole process."""
    Route.BASE = api_base.rstrip("/") or OFFICIAL_API
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url) if gateway_url else OFFICIAL_GATEWAY
