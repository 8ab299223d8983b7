"""The settings of the Discord adapter. They stand apart so that reading a config imports no Discord library."""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True, kw_only=True)
class DiscordSettings:
    """`[discord]` in the config."""

    secret: ClassVar[str] = "DISCORD_TOKEN"

    enabled: bool | Literal["auto"] = "auto"
    """Connect to Discord; "auto": when DISCORD_TOKEN is set."""
    api_base: str = ""
    """Another Discord-compatible server: its REST address, `http://127.0.0.1:9041/api/v10`."""
    gateway_url: str = ""
    """Its gateway: `ws://127.0.0.1:9040/`; empty: what its REST says."""
    sync_commands: bool = True
    """Tell Discord which commands there are, at the start, when they changed."""
    message_content: bool = False
    """Ask for the privileged intent "message content", so that photos of others can be asked about by a reply."""
    admins: tuple[str, ...] = ()
    """Accounts (their ids) that may administer this house, beside the application's owner and its team."""
