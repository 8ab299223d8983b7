"""Builds the plugins of this server, and what they can see and change."""

from dataclasses import dataclass

from adapters.cli.ports import LoadedConfig
from bot.chat.commands import CHAT_COMMANDS
from bot.commands import COMMANDS
from bot.plugins.owner_plugins import PluginConfigFile
from bot.plugins.plugin_manager import PluginManager
from bot.plugins.plugin_settings import PluginsSettings
from bot.ports import MediaStore
from bot.prompts.resolver import PromptResolver
from bot.queue.parts.plugin_texts import PluginTexts
from bot.queue.plugin_deliveries import PluginDeliveries
from bot.usecases import Moderation, PluginRequests


@dataclass(frozen=True, kw_only=True)
class ConnectedPlugins:
    """Where plugins are asked: by requests, by jobs that run, and by what was delivered."""

    requests: PluginRequests
    texts: PluginTexts
    deliveries: PluginDeliveries


def build_plugins(loaded: LoadedConfig) -> PluginManager:
    """Of the data directory and of installed packages; entering it starts them."""
    return PluginManager(
        data_dir=loaded.data_dir,
        settings=loaded.settings.get("plugins", PluginsSettings()),
        config=PluginConfigFile(loaded.data_dir),
        other_commands={*COMMANDS, *CHAT_COMMANDS},
    )


def connect_plugins(
    manager: PluginManager, media: MediaStore, moderation: Moderation, prompt_resolver: PromptResolver
) -> ConnectedPlugins:
    return ConnectedPlugins(
        requests=PluginRequests(manager, moderation),
        texts=PluginTexts(manager=manager, moderation=moderation, prompt_resolver=prompt_resolver),
        deliveries=PluginDeliveries(manager, media),
    )
