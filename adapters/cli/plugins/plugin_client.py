"""Lists and switches plugins: through the server if it runs, else in the settings file, without running any plugin."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from adapters.cli.client.open import open_client
from adapters.cli.output import print_json, print_line, print_note, print_table, program_name
from adapters.cli.ports import LoadedConfig
from bot.plugins.discovery import FOLDER, plugin_name
from bot.plugins.owner_plugins import PluginConfigFile
from bot.plugins.plugin_manager import PluginManager
from bot.plugins.plugin_settings import PluginsSettings
from bot.plugins.plugin_states import PluginState, state_body

if TYPE_CHECKING:
    from adapters.cli.client.http import HttpClient
    from bot.runtime.lock import LockHolder

URL = "/api/v1/admin/plugins"
Body = dict[str, Any]


class PluginClient(Protocol):
    async def list_plugins(self) -> list[Body]: ...

    async def set_enabled(self, name: str, is_enabled: bool) -> Body: ...


class _ServersPlugins:
    def __init__(self, client: "HttpClient") -> None:
        self._client = client

    async def list_plugins(self) -> list[Body]:
        plugins: list[Body] = (await self._client.send_request("GET", URL, is_safe=True)).json()["plugins"]
        return plugins

    async def set_enabled(self, name: str, is_enabled: bool) -> Body:
        path = f"{URL}/{quote(name, safe='')}"
        body: Body = (
            await self._client.send_request("PUT", path, json={"enabled": is_enabled}, is_safe=True, timeout=None)
        ).json()
        return body


class _StoppedPlugins:
    """There is no server, so nothing runs."""

    def __init__(self, loaded: LoadedConfig) -> None:
        self._manager = PluginManager(
            data_dir=loaded.data_dir,
            settings=loaded.settings.get("plugins", PluginsSettings()),
            config=PluginConfigFile(loaded.data_dir),
        )

    async def list_plugins(self) -> list[Body]:
        return [_stopped(state) for state in await self._manager.list_states()]

    async def set_enabled(self, name: str, is_enabled: bool) -> Body:
        return _stopped(await self._manager.save_enabled(name, is_enabled))


def _stopped(state: PluginState) -> Body:
    return {**state_body(state), "running": False}


@asynccontextmanager
async def _open(loaded: LoadedConfig) -> AsyncIterator[PluginClient]:
    from adapters.cli.client.http import open_http_client

    @asynccontextmanager
    async def open_local() -> AsyncIterator[PluginClient]:
        yield _StoppedPlugins(loaded)

    @asynccontextmanager
    async def open_remote(holder: "LockHolder") -> AsyncIterator[PluginClient]:
        async with open_http_client(loaded.data_dir, holder) as http_client:
            yield _ServersPlugins(http_client)

    async with open_client(loaded.data_dir, open_remote, open_local) as client:
        yield client


async def list_plugins(loaded: LoadedConfig, *, as_json: bool) -> int:
    async with _open(loaded) as client:
        plugins = await client.list_plugins()
    if as_json:
        print_json({"plugins": plugins})
    elif not plugins:
        print_note(
            f"There are no plugins in {loaded.data_dir / FOLDER}. `{program_name()} plugins new NAME` begins one."
        )
    else:
        _print_plugins(plugins)
    return 0


def _print_plugins(plugins: list[Body]) -> None:
    rows = [(one["name"], _state_of(one), one["source"], ", ".join(_hooks_of(one))) for one in plugins]
    print_table(("Name", "State", "Source", "Hooks"), rows)
    for one in plugins:
        for sentence in filter(None, (one["problem"], one["last_error"] if not one["problem"] else "")):
            print_note(f"{one['name']}: {sentence}")


def _state_of(plugin: Body) -> str:
    if plugin["problem"]:
        return "not used"
    if not plugin["enabled"]:
        return "off"
    return "running" if plugin["running"] else "on"


def _hooks_of(plugin: Body) -> list[str]:
    return [name.removeprefix("easel_") for name in (*plugin["server_hooks"], *plugin["worker_hooks"])]


async def switch_plugin(loaded: LoadedConfig, name: str, *, is_enabled: bool, as_json: bool) -> int:
    """Exit code 1: it is enabled now, but cannot be used."""
    async with _open(loaded) as client:
        plugin = await client.set_enabled(plugin_name(name), is_enabled)
    if as_json:
        print_json(plugin)
    elif not plugin["problem"]:
        print_line(f"{plugin['name']} is {_state_of(plugin)}.")
    else:
        print_note(f"{plugin['name']} is enabled, but not used: {plugin['problem']}")
    return 1 if is_enabled and plugin["problem"] else 0
