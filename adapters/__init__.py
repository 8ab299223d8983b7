"""One folder per platform. `PLATFORMS` maps each name, which is also its config table, to its adapter class.

An adapter is imported only when it is enabled, so the library of an unused platform costs nothing.
"""

PLATFORMS: dict[str, str] = {
    "web": "adapters.web:Web",
    "discord": "adapters.discord:DiscordAdapter",
    "telegram": "adapters.telegram:TelegramAdapter",
}

MOUNTS: dict[str, str] = {
    "/v1": "adapters.openai:build_app",
    "/mcp": "adapters.mcp.mcp_mount:build_mcp",
    "/sdapi": "adapters.sdapi:build_sdapi",
    "/controlnet": "adapters.sdapi:build_controlnet",
}
"""Applications that `adapters/web` serves below a path: the APIs that other programs speak. Each is a function of
`adapters.web.context.WebContext` that returns an ASGI application."""
