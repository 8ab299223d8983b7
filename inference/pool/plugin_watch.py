"""What plugins do in one device's child: which call runs, for how long it may, and what is reported of it."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

from bot.ports import NoWorkerPlugins, WorkerPlugin, WorkerPlugins
from bot.problem_texts.plugin_problems import ENDED_WORKER, SWITCHED_OFF
from inference.ipc.plugin_messages import IMPORT, PluginCall, PluginFailed, PluginLoaded

_log = structlog.get_logger("inference")
MODEL_LOADED = "easel_model_loaded"
SLOW_FACTOR = 10
"""An import, and a change to a model that was loaded, may take this many times as long as other calls: they happen
once, and import libraries."""


class Blamed(NamedTuple):
    """The plugin whose hook ended a child, empty: none; and the reason that people read."""

    plugin: str = ""
    reason: str = ""


class PluginWatch:
    """Of one device; times are those of `clock`, in seconds."""

    def __init__(self, plugins: WorkerPlugins | None, device: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._plugins = plugins or NoWorkerPlugins()
        self._device, self._clock = device, clock
        self._call = PluginCall()
        self._since = -math.inf
        self._limits_s: dict[str, float] = {}
        self._overrun = ""
        """Which call took how long, once the child has to be killed for it."""

    def list_enabled(self) -> tuple[WorkerPlugin, ...]:
        """To be sent to the child."""
        enabled = tuple(self._plugins.list_for_worker())
        self._limits_s |= {plugin.name: plugin.time_limit_s for plugin in enabled}
        return enabled

    def handle(self, message: PluginCall | PluginLoaded | PluginFailed) -> None:
        match message:
            case PluginCall():
                self._call, self._since = message, self._clock()
            case PluginLoaded(plugin, hooks):
                self._plugins.record_loaded(plugin, hooks)
            case PluginFailed(plugin, hook, problem):
                details = {"device": self._device, "plugin": plugin, "hook": hook, "problem": problem}
                _log.warning("A plugin had no effect", action="plugin_failed", **details)
                self._plugins.record_failure(plugin, hook, problem)

    @property
    def is_calling(self) -> bool:
        return bool(self._call.plugin)

    @property
    def changed_at(self) -> float:
        """When the last call began or ended."""
        return self._since

    def postpone(self) -> None:
        """This process itself was stopped: the end of the call may not have been read yet."""
        self._since = self._clock()

    def find_hung(self) -> str:
        """Why the child must be killed; empty: no call takes too long."""
        if not self._call.plugin:
            return ""
        limit_s = self._limits_s[self._call.plugin] * (SLOW_FACTOR if self._call.hook in (IMPORT, MODEL_LOADED) else 1)
        if self._clock() - self._since <= limit_s:
            return ""
        self._overrun = f"{_name_call(self._call)} took over {limit_s:g} s"
        return f"{_name_call(self._call)} of the plugin {self._call.plugin} took over {limit_s:g} s"

    def take_blamed(self, reason: str) -> Blamed:
        """The child has ended: the plugin that was being called then is disabled for it."""
        call, self._call = self._call, PluginCall()
        overrun, self._overrun = self._overrun, ""
        if not call.plugin:
            return Blamed()
        ended = f"{_name_call(call)} ended the worker ({reason.splitlines()[0]})"
        sentence = f"{overrun or ended}, so the plugin was switched off. Enable it again once it is repaired."
        details = {"device": self._device, "plugin": call.plugin, "hook": call.hook}
        _log.error("A plugin was disabled", action="plugin_disabled", **details)
        self._plugins.disable_for_worker(call.plugin, sentence)
        return Blamed(call.plugin, SWITCHED_OFF if overrun else ENDED_WORKER)


def _name_call(call: PluginCall) -> str:
    return "The import" if call.hook == IMPORT else call.hook
