"""Says which plugins are used and what is wrong with the others: as the running server has it, else without running
any."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapters.cli.doctor.check import BAD, OK, WARN, Check
from bot.plugins.discovery import FoundPlugin, find_plugins
from bot.plugins.plugin_settings import PluginsSettings, read_own_settings
from bot.plugins.switch_off_reasons import SwitchOffReasons
from bot.runtime.lock import LockHolder, read_holder

if TYPE_CHECKING:
    from adapters.cli.ports import LoadedConfig

ABOUT = "plugins"
_TIMEOUT_S = 10.0
Body = Mapping[str, Any]


def check_plugins(loaded: "LoadedConfig") -> Iterator[Check]:
    settings = loaded.settings.get("plugins", PluginsSettings())
    found = find_plugins(loaded.data_dir)
    holder = read_holder(loaded.data_dir)
    asked = _ask_server(holder) if holder is not None and holder.url else None
    for plugin in asked if asked is not None else _without_server(loaded, found, settings):
        yield _check_plugin(plugin)
    for name in sorted({*settings.order, *settings.disabled, *settings.tables} - {one.name for one in found}):
        yield Check(ABOUT, WARN, f"The settings name a plugin {name}, which is not there.")


def _check_plugin(plugin: Body) -> Check:
    name = plugin["name"]
    if plugin["problem"]:
        return Check(ABOUT, BAD if plugin["enabled"] else WARN, f"The plugin {name} is not used: {plugin['problem']}")
    if not plugin["enabled"]:
        return Check(ABOUT, OK, f"The plugin {name} is switched off.")
    if plugin["last_error"]:
        return Check(ABOUT, WARN, f"A hook of the plugin {name} failed: {plugin['last_error']}")
    return Check(ABOUT, OK, f"The plugin {name} is switched on ({plugin['source']}).")


def _ask_server(holder: LockHolder) -> Sequence[Body] | None:
    """None: it does not answer, which another check says, or it is of an older version."""
    import httpx

    try:
        with httpx.Client(trust_env=False, timeout=_TIMEOUT_S) as client:
            headers = {"Authorization": f"Bearer {holder.secret}"}
            response = client.get(f"{holder.url.rstrip('/')}/api/v1/admin/plugins", headers=headers)
        plugins: Sequence[Body] = response.raise_for_status().json()["plugins"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None
    return plugins


def _without_server(loaded: "LoadedConfig", found: Sequence[FoundPlugin], settings: PluginsSettings) -> Iterator[Body]:
    reasons = SwitchOffReasons(loaded.data_dir)
    for one in sorted(found, key=lambda one: settings.rank(one.name)):
        is_enabled = settings.is_enabled(one.name)
        problem = one.problem or ("" if is_enabled else reasons.read(one.name))
        if is_enabled and not problem and one.defaults is not None:
            problem = read_own_settings(one.name, one.defaults, settings).problem
        yield {"name": one.name, "source": one.source, "enabled": is_enabled, "problem": problem, "last_error": ""}
