"""What `doctor` says of the chat platforms: whether they take the token."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from adapters.cli.doctor.check import BAD, OK, WARN, Check
from adapters.cli.platform_calls import DISCORD, TELEGRAM, get

if TYPE_CHECKING:
    from adapters.cli.ports import Loaded


def chats(loaded: "Loaded") -> Iterator[Check]:
    yield from _discord(loaded)
    yield from _telegram(loaded)


def _discord(loaded: "Loaded") -> Iterator[Check]:
    token, settings = loaded.secrets.discord_token, loaded.settings.get("discord")
    if not token or settings is None or not settings.enabled:
        return
    base = settings.api_base or DISCORD
    status, answer = get(f"{base.rstrip('/')}/users/@me", {"Authorization": f"Bot {token}"})
    name = answer.get("username") if isinstance(answer, dict) else None
    yield _check("Discord", "DISCORD_TOKEN", status, name)


def _telegram(loaded: "Loaded") -> Iterator[Check]:
    token, settings = loaded.secrets.telegram_token, loaded.settings.get("telegram")
    if not token or settings is None or not settings.enabled:
        return
    status, answer = get(f"{settings.api_base or TELEGRAM}{token}/getMe", {})
    result = answer.get("result") if isinstance(answer, dict) else None
    yield _check("Telegram", "TELEGRAM_BOT_TOKEN", status, result.get("username") if isinstance(result, dict) else None)


def _check(platform: str, variable: str, status: int, name: Any) -> Check:
    if status in (401, 403, 404):
        return Check("chats", BAD, f"{platform} refuses {variable}: make a new token there. Easel runs without it.")
    if status != 200:
        return Check("chats", WARN, f"{platform} could not be asked about {variable} just now.")
    return Check("chats", OK, f"{platform} takes {variable}; the bot is called {str(name)[:60]}.")
