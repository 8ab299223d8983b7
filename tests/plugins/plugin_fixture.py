"""Plugins in a data directory, and an application that runs them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

from bot.plugins.owner_plugins import PluginConfigFile
from bot.plugins.plugin_manager import PluginManager
from bot.plugins.plugin_settings import PluginsSettings
from bot.plugins.plugin_states import PluginState

LIMIT_S = 20.0
"""Far more than any hook of these tests takes."""


@dataclass(frozen=True)
class PluginFolder:
    data_dir: Path

    def write(self, name: str, code: str) -> Path:
        path = self.data_dir / "plugins" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(code), encoding="utf-8")
        return path

    def manager(
        self, *, tables: dict[str, dict[str, Any]] | None = None, time_limit_s: float = LIMIT_S, **settings: Any
    ) -> PluginManager:
        return PluginManager(
            data_dir=self.data_dir,
            settings=PluginsSettings(time_limit_s=time_limit_s, **settings).with_tables(tables or {}),
            config=PluginConfigFile(self.data_dir),
            other_commands={"imagine", "help"},
        )


async def state_of(manager: PluginManager, name: str) -> PluginState:
    return next(state for state in await manager.list_states() if state.name == name)


@asynccontextmanager
async def plugin_running(folder: PluginFolder, name: str, code: str, **settings: Any) -> AsyncIterator[PluginManager]:
    folder.write(name, code)
    async with folder.manager(**settings) as manager:
        yield manager


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110 - of what other threads do
        await asyncio.sleep(0.005)
