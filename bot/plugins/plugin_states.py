"""What Admin and the command line say about each plugin."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class PluginState:
    """Attributes:
    source: "plugins/NAME.py", or the package.
    is_enabled: as configured; a plugin that is enabled may still not work.
    is_running: its hooks of the server are called; of one with hooks for the worker only, that workers load it.
    server_hooks, worker_hooks: names; of a package, those that are known so far.
    problem: why it is not used, as a sentence; empty: nothing is wrong.
    last_error: the last hook that failed, and how; empty: none has.
    """

    name: str
    source: str
    is_enabled: bool
    is_running: bool
    server_hooks: Sequence[str] = ()
    worker_hooks: Sequence[str] = ()
    commands: Sequence[str] = ()
    problem: str = ""
    last_error: str = ""


def state_body(state: PluginState) -> dict[str, Any]:
    """As JSON."""
    shown = asdict(state)
    return {"enabled": shown.pop("is_enabled"), "running": shown.pop("is_running"), **shown}


class OwnerPluginConfig(Protocol):
    """`enabled` of `[plugins.NAME]` in the owner's settings file."""

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        """Raises: ConfigError: the owner's file is damaged; OSError."""
