"""One folder per platform. `PLATFORMS` registers: a name that is also its config table, and where its adapter is.

An adapter is imported only when it is switched on, so an unused platform's library costs nothing.
"""

PLATFORMS: dict[str, str] = {
    "web": "adapters.web:Web",
    "discord": "adapters.discord:Discord",
    "telegram": "adapters.telegram:Telegram",
}
