"""Bot tokens: what else was pasted in their place, whether the platform takes them, and how a bot is invited."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapters.cli.platform_calls import DISCORD, TELEGRAM, get

if TYPE_CHECKING:
    from adapters.cli.ports import Loaded

INVITE = "https://discord.com/oauth2/authorize?client_id={id}&scope=bot+applications.commands&permissions={permissions}"
PERMISSIONS: Mapping[str, int] = {
    "View Channel": 1 << 10,
    "Send Messages": 1 << 11,
    "Attach Files": 1 << 15,
    "Read Message History": 1 << 16,
    "Send Messages in Threads": 1 << 38,
}
"""What the Discord bot asks for on a server."""
VARIABLES = {"discord": "DISCORD_TOKEN", "telegram": "TELEGRAM_BOT_TOKEN"}
TITLES = {"discord": "Discord", "telegram": "Telegram"}
_WHERE = {
    "discord": "The token is under Bot > Reset Token at https://discord.com/developers/applications.",
    "telegram": "@BotFather in Telegram shows the token, such as 110201543:AAH...: send it /mybots.",
}
_OTHERS = {
    "discord": (
        (r"\d{15,20}", "This is the application's id, not its token."),
        (r"[0-9a-fA-F]{64}", "This is the application's public key, not its token."),
        (r"[\w-]{32}", "This is the client secret, not the bot's token."),
        (r"\d{6,12}:[\w-]{20,}", "This is the token of a Telegram bot."),
    ),
    "telegram": (
        (r"\d+", "This is only the first half of the token, before the colon."),
        (r"@.*|\w*[Bb][Oo][Tt]", "This is the bot's name, not its token."),
        (r"[\w-]{20,}\.[\w-]{5,}\.[\w-]{20,}", "This is the token of a Discord bot."),
    ),
}
_ANYWHERE = (
    (r"hf_\w+", "This is a Hugging Face token."),
    (r"(https?://|t\.me/).*", "This is an address, not a token."),
    (r".*\s.*", "A token has no spaces."),
)


def trimmed(platform: str, pasted: str) -> str:
    """Without what comes along with a copy: spaces, quotes, the variable's name, `Bot `."""
    text = pasted.strip().removeprefix("export ").strip()
    text = re.sub(r"^(\w*TOKEN)\s*[=:]\s*", "", text).strip().strip("\"'`").strip()
    if platform == "discord":
        return re.sub(r"^bot\s+", "", text, flags=re.IGNORECASE)
    return re.sub(r"^bot(?=\d+:)", "", text, flags=re.IGNORECASE)


def wrong_with(platform: str, token: str) -> str:
    """What this is instead of a token and where the token is; empty when it may be one."""
    for pattern, sentence in (*_ANYWHERE, *_OTHERS[platform]):
        if re.fullmatch(pattern, token):
            return f"{sentence} {_WHERE[platform]}"
    return ""


@dataclass(frozen=True, kw_only=True)
class Bot:
    """What a platform says of a token. `verdict`: "taken", "refused" or "unknown", when it could not be asked."""

    platform: str
    verdict: str
    name: str = ""
    invite: str = ""

    @property
    def sentence(self) -> str:
        title = TITLES[self.platform]
        if self.verdict == "refused":
            return f"{title} refuses this token: a newer one may have replaced it. {_WHERE[self.platform]}"
        if self.verdict == "unknown":
            return f"{title} could not be asked about the token just now; `easel doctor` asks again."
        return f"{title} takes the token; the bot is called {self.name}."


def ask(platform: str, token: str, loaded: "Loaded") -> Bot:
    """One call to the platform."""
    settings = loaded.settings.get(platform)
    base = getattr(settings, "api_base", "")
    if platform == "discord":
        url = f"{(base or DISCORD).rstrip('/')}/oauth2/applications/@me"
        status, answer = get(url, {"Authorization": f"Bot {token}"})
    else:
        status, answer = get(f"{base or TELEGRAM}{token}/getMe", {})
        answer = answer.get("result") if isinstance(answer, dict) else None
    if status in (400, 401, 403, 404):
        return Bot(platform=platform, verdict="refused")
    if status != 200 or not isinstance(answer, dict):
        return Bot(platform=platform, verdict="unknown")
    name = str(answer.get("name") or answer.get("username") or "?")[:60]
    return Bot(platform=platform, verdict="taken", name=name, invite=_invite(platform, answer))


def _invite(platform: str, answer: Mapping[str, Any]) -> str:
    if platform == "telegram":
        return f"https://t.me/{answer.get('username', '')}"
    return INVITE.format(id=answer.get("id", ""), permissions=sum(PERMISSIONS.values()))
