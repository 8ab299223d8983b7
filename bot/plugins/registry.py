"""The hooks of the registered plugins, as pluggy keeps them: a function called `easel_...` is a hook, marked or not."""

import inspect
from collections.abc import Callable
from typing import Any

import pluggy
from pluggy import HookimplOpts

from bot.plugins.hookspecs import PROJECT

PREFIX = "easel_"


class HookRegistry(pluggy.PluginManager):
    """`specs`: `ServerHooks` or `WorkerHooks`. Hooks of the other one are left out: a file may have both."""

    def __init__(self, specs: type) -> None:
        super().__init__(PROJECT)
        self._names = hook_names(specs)
        self.add_hookspecs(specs)

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> HookimplOpts | None:
        if name not in self._names:
            return None
        marked = super().parse_hookimpl_opts(plugin, name)
        if marked is not None:
            return marked
        is_function = inspect.isroutine(inspect.getattr_static(plugin, name, None))
        return HookimplOpts(
            wrapper=False, hookwrapper=False, optionalhook=False, tryfirst=False, trylast=False, specname=None
        ) if is_function else None  # fmt: skip

    def hooks_of(self, plugin: object) -> dict[str, tuple[Callable[..., Any], tuple[str, ...]]]:
        """By name, each of its hooks with the arguments that it names."""
        found = {}
        for caller in self.get_hookcallers(plugin) or ():
            for one in caller.get_hookimpls():
                if one.plugin is plugin and caller.spec is not None:
                    optional = (name for name in one.kwargnames if name in caller.spec.argnames)
                    found[caller.name] = (one.function, (*one.argnames, *optional))
        return found


def hook_names(specs: type) -> frozenset[str]:
    return frozenset(name for name in vars(specs) if name.startswith(PREFIX))
