"""Telegram: messages become calls of use cases, and their results become messages.

The chat library is imported only when `TelegramAdapter` is used, so reading the settings costs nothing.
"""

from typing import TYPE_CHECKING, Any

from adapters.telegram.settings import TelegramSettings

if TYPE_CHECKING:
    from adapters.telegram.adapter import TelegramAdapter

__all__ = ["TelegramAdapter", "TelegramSettings"]


def __getattr__(name: str) -> Any:
    if name == "TelegramAdapter":
        from adapters.telegram.adapter import TelegramAdapter

        return TelegramAdapter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
