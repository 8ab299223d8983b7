"""The only place that touches names of discord.py which its documentation does not promise."""

import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from adapters.discord.settings import DiscordSettings

OFFICIAL_API = Route.BASE
OFFICIAL_GATEWAY = DiscordWebSocket.DEFAULT_GATEWAY


def point_at(settings: DiscordSettings) -> None:
    """Send everything to the server that the settings name, else to Discord itself. For the whole process."""
    Route.BASE = settings.api_base.rstrip("/") or OFFICIAL_API
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(settings.gateway_url) if settings.gateway_url else OFFICIAL_GATEWAY
