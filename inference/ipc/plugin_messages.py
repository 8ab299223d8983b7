"""The messages about plugins, to and from a device's child. Plugins are named, never located: the child finds them."""

from dataclasses import dataclass

from bot.ports import WorkerPlugin

IMPORT = "import"
"""`hook` while a plugin is imported."""


@dataclass(frozen=True)
class SetPlugins:
    """From now on these are enabled, in this order. Tasks that have started keep theirs."""

    plugins: tuple[WorkerPlugin, ...]


@dataclass(frozen=True)
class PluginCall:
    """This plugin's hook is being called; empty: the call has ended. If the child hangs or dies, it is to blame."""

    plugin: str = ""
    hook: str = ""


@dataclass(frozen=True)
class PluginLoaded:
    plugin: str
    hooks: tuple[str, ...]


@dataclass(frozen=True)
class PluginFailed:
    """The call had no effect. `problem`: one line, without words of a prompt where that can be avoided."""

    plugin: str
    hook: str
    problem: str
