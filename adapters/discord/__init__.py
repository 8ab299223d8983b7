"""Discord: slash commands, message menus, buttons and replies, through discord.py.

What a person does becomes an event that is kept before it is answered (`intake`), is acted upon by a use case
(`deeds`), and comes back as an ordinary message of the bot's (`reply`). The library is imported only when `Discord` is
asked for.
"""

from typing import TYPE_CHECKING, Any

from adapters.discord.settings import DiscordSettings

if TYPE_CHECKING:
    from adapters.discord.adapter import DiscordAdapter

__all__ = ["DiscordAdapter", "DiscordSettings"]


def __getattr__(name: str) -> Any:
    if name == "Discord":
        from adapters.discord.adapter import DiscordAdapter

        return DiscordAdapter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
