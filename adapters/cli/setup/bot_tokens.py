"""Bot tokens: recognises common mistakes, checks them with the platform, and builds the invite link."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapters.cli.platform_calls import DISCORD, TELEGRAM, fetch_json, is_token_refused

if TYPE_CHECKING:
    from adapters.cli.ports import LoadedConfig

INVITE = "https://discord.com/oauth2/authorize?client_id={id}&scope=bot+applications.commands&permissions={permissions}"
PERMISSIONS: Mapping[str, int] = {
    "View Channel": 1 << 10,
    "Send Messages": 1 << 11,
    "Attach Files": 1 << 15,
    "Read Message History": 1 << 16,
    "Send Messages in Threads": 1 << 38,
}
"""Permissions that the Discord bot requests on a server."""
VARIABLES = {"discord": "DISCORD_TOKEN", "telegram": "TELEGRAM_BOT_TOKEN"}
TITLES = {"discord": "Discord", "telegram": "Telegram"}
_WHERE_TO_FIND = {
    "discord": "The token is under Bot > Reset Token at https://discord.com/developers/applications.",
    "telegram": "Send /mybots to @BotFather in Telegram to see the token, such as 110201543:AAH...",
}
_MISTAKES = {
    "discord": (
        (r"\d{15,20}", "This is the application's id, not its token."),
        (r"[0-9a-fA-F]{64}", "This is the application's public key, not its token."),
        (r"[\w-]{32}", "This is the client secret, not the bot's token."),
        (r"\d{6,12}:[\w-]{20,}", "This is a Telegram bot token."),
    ),
    "telegram": (
        (r"\d+", "This is only the first half of the token, before the colon."),
        (r"@.*|\w*[Bb][Oo][Tt]", "This is the bot's name, not its token."),
        (r"[\w-]{20,}\.[\w-]{5,}\.[\w-]{20,}", "This is a Discord bot token."),
    ),
}
_COMMON_MISTAKES = (
    (r"hf_\w+", "This is a Hugging Face token."),
    (r"(https?://|t\.me/).*", "This is an address, not a token."),
    (r".*\s.*", "A token has no spaces."),
)


def clean_token(platform: str, pasted: str) -> str:
    """Strip what is often copied along: spaces, quotes, the variable's name, `Bot `."""
    text = pasted.strip().removeprefix("export ").strip()
    text = re.sub(r"^(\w*TOKEN)\s*[=:]\s*", "", text).strip().strip("\"'`").strip()
    if platform == "discord":
        return re.sub(r"^bot\s+", "", text, flags=re.IGNORECASE)
    return re.sub(r"^bot(?=\d+:)", "", text, flags=re.IGNORECASE)


def find_token_problem(platform: str, token: str) -> str:
    """What was pasted instead of a token, and where to find the token; empty if it may be one."""
    for pattern, sentence in (*_COMMON_MISTAKES, *_MISTAKES[platform]):
        if re.fullmatch(pattern, token):
            return f"{sentence} {_WHERE_TO_FIND[platform]}"
    return ""


@dataclass(frozen=True, kw_only=True)
class BotInfo:
    """What a platform reports about a token. `verdict`: "taken", "refused" or "unknown" (no usable response)."""

    platform: str
    verdict: str
    name: str = ""
    invite: str = ""

    @property
    def sentence(self) -> str:
        title = TITLES[self.platform]
        if self.verdict == "refused":
            return f"{title} rejects this token: a newer one may have replaced it. {_WHERE_TO_FIND[self.platform]}"
        if self.verdict == "unknown":
            return f"{title} could not be reached to check the token; `easel doctor` checks it again."
        return f"{title} accepts the token; the bot is {self.name}."


def check_token(platform: str, token: str, loaded: "LoadedConfig") -> BotInfo:
    """Check a token with one call to its platform."""
    settings = loaded.settings.get(platform)
    base = getattr(settings, "api_base", "")
    if platform == "discord":
        url = f"{(base or DISCORD).rstrip('/')}/oauth2/applications/@me"
        status, body = fetch_json(url, {"Authorization": f"Bot {token}"})
    else:
        status, body = fetch_json(f"{base or TELEGRAM}{token}/getMe", {})
    if is_token_refused(status, body):
        return BotInfo(platform=platform, verdict="refused")
    if platform == "telegram":
        body = body.get("result") if isinstance(body, dict) else None
    if status != 200 or not isinstance(body, dict):
        return BotInfo(platform=platform, verdict="unknown")
    name = str(body.get("name") or body.get("username") or "?")[:60]
    return BotInfo(platform=platform, verdict="taken", name=name, invite=_invite_url(platform, body))


def _invite_url(platform: str, body: Mapping[str, Any]) -> str:
    if platform == "telegram":
        return f"https://t.me/{body.get('username', '')}"
    return INVITE.format(id=body.get("id", ""), permissions=sum(PERMISSIONS.values()))
