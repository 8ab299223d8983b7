"""Checks of the chat platforms: whether they accept the bot token."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from adapters.cli.doctor.check import BAD, OK, WARN, Check
from adapters.cli.platform_calls import DISCORD, TELEGRAM, fetch_json, is_token_refused

if TYPE_CHECKING:
    from adapters.cli.ports import LoadedConfig


def check_chat_platforms(loaded: "LoadedConfig") -> Iterator[Check]:
    yield from _check_discord(loaded)
    yield from _check_telegram(loaded)


def _check_discord(loaded: "LoadedConfig") -> Iterator[Check]:
    token, settings = loaded.secrets.discord_token, loaded.settings.get("discord")
    if not token or settings is None or not settings.enabled:
        return
    base = settings.api_base or DISCORD
    status, body = fetch_json(f"{base.rstrip('/')}/users/@me", {"Authorization": f"Bot {token}"})
    name = body.get("username") if isinstance(body, dict) else None
    yield _to_check("Discord", "DISCORD_TOKEN", status, name, is_refused=is_token_refused(status, body))


def _check_telegram(loaded: "LoadedConfig") -> Iterator[Check]:
    token, settings = loaded.secrets.telegram_token, loaded.settings.get("telegram")
    if not token or settings is None or not settings.enabled:
        return
    status, body = fetch_json(f"{settings.api_base or TELEGRAM}{token}/getMe", {})
    result = body.get("result") if isinstance(body, dict) else None
    name = result.get("username") if isinstance(result, dict) else None
    yield _to_check("Telegram", "TELEGRAM_BOT_TOKEN", status, name, is_refused=is_token_refused(status, body))


def _to_check(platform: str, variable: str, status: int, name: Any, *, is_refused: bool) -> Check:
    if is_refused:
        sentence = (
            f"{platform} rejects {variable}: create a new token there. Without one, Easel runs without {platform}."
        )
        return Check("chats", BAD, sentence)
    if status != 200 or not name:
        return Check("chats", WARN, f"{platform} could not be reached to check {variable}.")
    return Check("chats", OK, f"{platform} accepts {variable}; the bot is {str(name)[:60]}.")
