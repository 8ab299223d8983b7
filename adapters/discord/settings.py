"""The settings of the Discord adapter, apart from it so that reading a config imports no Discord library."""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True, kw_only=True)
class DiscordSettings:
    """`[discord]` in the config."""

    secret: ClassVar[str] = "DISCORD_TOKEN"

    enabled: bool | Literal["auto"] = "auto"
    """Connect to Discord; "auto": when DISCORD_TOKEN is set."""
    api_base: str = ""
    """REST address of another Discord-compatible server: `http://127.0.0.1:9041/api/v10`."""
    gateway_url: str = ""
    """Gateway of that server: `ws://127.0.0.1:9040/`; empty: requested from `api_base`."""
    sync_commands: bool = True
    """Register the commands with Discord at startup if they changed."""
    message_content: bool = False
    """Request the privileged intent "message content": replies to photos of other people can then ask about them."""
    admins: tuple[str, ...] = ()
    """Account ids of this bot's admins, besides the application's owner and team."""
