"""One folder per platform. `PLATFORMS` maps each name, which is also its config table, to its adapter class.

An adapter is imported only when it is enabled, so the library of an unused platform costs nothing.
"""

PLATFORMS: dict[str, str] = {
    "web": "adapters.web:Web",
    "discord": "adapters.discord:DiscordAdapter",
    "telegram": "adapters.telegram:TelegramAdapter",
}
