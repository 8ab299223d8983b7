"""Telegram: messages become use cases, and what they say becomes messages.

The chat library is imported only when `Telegram` is asked for, so reading the settings costs nothing.
"""

from typing import TYPE_CHECKING, Any

from adapters.telegram.settings import TelegramSettings

if TYPE_CHECKING:
    from adapters.telegram.adapter import Telegram

__all__ = ["Telegram", "TelegramSettings"]


def __getattr__(name: str) -> Any:
    if name == "Telegram":
        from adapters.telegram.adapter import Telegram

        return Telegram
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
