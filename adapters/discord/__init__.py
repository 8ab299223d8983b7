"""Discord: slash commands, message menus, buttons and replies, through discord.py.

Every interaction or message becomes an event that is stored before it is acknowledged (`event_handler`), is handled by
a use case (`actions`, `chat_commands`, `messages`), and is answered by an ordinary message of the bot (`delivery`). The
library is imported only when `DiscordAdapter` is used.
"""

from typing import TYPE_CHECKING, Any

from adapters.discord.settings import DiscordSettings

if TYPE_CHECKING:
    from adapters.discord.adapter import DiscordAdapter

__all__ = ["DiscordAdapter", "DiscordSettings"]


def __getattr__(name: str) -> Any:
    if name == "DiscordAdapter":
        from adapters.discord.adapter import DiscordAdapter

        return DiscordAdapter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
