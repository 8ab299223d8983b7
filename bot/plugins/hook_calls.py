"""A plugin that runs, and the call of one of its hooks."""

from dataclasses import dataclass
from typing import Any

from bot.plugins.child_functions import ChildFunctions
from bot.plugins.hook_runner import Hook, HookFailed, HookRunner
from bot.plugins.hook_values import PluginContext
from bot.plugins.plugin_commands import OwnCommand
from bot.problem_texts.plugin_problems import UNUSABLE


@dataclass(eq=False, kw_only=True)
class RunningPlugin:
    """`loaded`: the module or object that pluggy knows it by."""

    loaded: Any
    context: PluginContext
    hooks: dict[str, Hook]
    runner: HookRunner
    functions: ChildFunctions
    commands: tuple[OwnCommand, ...] = ()

    @property
    def name(self) -> str:
        return self.context.name

    async def call(self, hook: str, *, limit_s: float = 0, **values: Any) -> Any:
        """What the hook returns; None, if the plugin does not have it. Raises: HookFailed, Refusal."""
        if hook not in self.hooks:
            return None
        return await self.runner.call(hook, self.hooks[hook], {"plugin": self.context, **values}, limit_s=limit_s)


@dataclass(frozen=True)
class HookCall:
    plugin: RunningPlugin
    hook: str

    @property
    def name(self) -> str:
        """The plugin's."""
        return self.plugin.name

    async def run(self, expected: type | tuple[type, ...], **values: Any) -> Any:
        """What the hook returns: None, or of the `expected` type. Raises: HookFailed, Refusal."""
        result = await self.plugin.call(self.hook, **values)
        if result is not None and not isinstance(result, expected):
            self.plugin.runner.report(f"{self.hook} returned {type(result).__name__}, which is not what it should.")
            raise HookFailed(self.name, UNUSABLE)
        return result
