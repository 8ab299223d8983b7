"""Calls the hooks of plugins in a device's child.

The parent is told before and after each call which plugin runs: the child cannot end its own hung call, and a crash
leaves nothing behind that could be asked. An exception costs the call's effect, is reported, and becomes a note on the
task's result.
"""

import copy
import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import pluggy

from bot.plugins.hook_values import PluginContext
from bot.plugins.hookspecs import WorkerHooks
from bot.plugins.plugin_errors import error_text
from bot.plugins.registry import HookRegistry
from bot.plugins.worker_facts import TaskFacts
from bot.ports import Task, WorkerPlugin
from bot.problem_texts.plugin_problems import FAILED, NO_EFFECT, UNUSABLE
from inference.engine.error_mapping import prompt_texts, redact
from inference.engine.plugins.plugin_loading import PluginMistake, load_plugin, settings_of, state_folder
from inference.ipc.plugin_messages import IMPORT, PluginCall, PluginFailed, PluginLoaded

APPLIES, MODEL_LOADED = "easel_applies", "easel_model_loaded"
TENSOR_HOOKS = ("easel_before_generate", "easel_step", "easel_after_generate")
"""Hooks that change how an image is computed."""
SAFETY_PARTS = ("safety_checker", "feature_extractor")
"""Of a pipeline: its own filter, and what reads images for it."""
MAX_PROBLEM = 300
"""Characters of a problem that is reported."""


@dataclass(frozen=True)
class LoadedPlugin:
    """`hooks`: the functions by name, each with the names of the arguments that it takes."""

    wire: WorkerPlugin
    context: PluginContext
    hooks: Mapping[str, tuple[Callable[..., Any], Sequence[str]]]

    @property
    def name(self) -> str:
        return self.wire.name


@dataclass
class TaskHooks:
    """The plugins that apply to a task, and those that had no effect, with the reason that people read.

    `words`: the person's, which are not reported.
    """

    facts: TaskFacts
    words: Sequence[str] = ()
    plugins: tuple[LoadedPlugin, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)


@runtime_checkable
class AcceptsPlugins(Protocol):
    """An engine that calls hooks; set before `load_model`."""

    plugins: "PluginHost"


class PluginHost:
    """The plugins of one child. `send`: to the parent."""

    def __init__(self, send: Callable[[object], None] = lambda _message: None) -> None:
        self._send = send
        self._plugins: tuple[LoadedPlugin, ...] = ()
        self._tasks: dict[str, TaskHooks] = {}
        self._failed_models: dict[str, dict[str, str]] = {}
        """Plugins whose `easel_model_loaded` failed, by model."""

    # ------------------------------------------------------------ loading

    def set_plugins(self, plugins: Sequence[WorkerPlugin]) -> None:
        """From now on these are enabled, in this order. Those that cannot be loaded are reported and left out."""
        known = {plugin.name: plugin for plugin in self._plugins}
        chosen = []
        for wire in plugins:
            kept = known.get(wire.name)
            loaded = kept if kept is not None and kept.wire == wire else self._load(wire)
            chosen += [loaded] if loaded is not None else []
        self._plugins = tuple(chosen)

    def _load(self, wire: WorkerPlugin) -> LoadedPlugin | None:
        self._send(PluginCall(wire.name, IMPORT))
        try:
            loaded = load_plugin(wire)
            hooks = _hooks_of(wire.name, loaded)
            context = PluginContext(
                name=wire.name,
                settings=MappingProxyType(dict(settings_of(wire, loaded))),
                folder=state_folder(wire.name),
            )
        except BaseException as error:  # asyncio.CancelledError is no Exception, for one
            self._report(wire.name, IMPORT, error)
            return None
        finally:
            self._send(PluginCall())
        self._send(PluginLoaded(wire.name, tuple(hooks)))
        return LoadedPlugin(wire, context, hooks)

    @property
    def model_key(self) -> tuple[object, ...]:
        """Changes when models have to be loaded again, because other plugins may change them now."""
        return tuple(
            (one.name, one.wire.sha256, repr(sorted(one.wire.settings.items())))
            for one in self._plugins
            if MODEL_LOADED in one.hooks
        )

    # ------------------------------------------------------------ tasks and models

    def start_task(self, task: Task) -> None:
        """Find out which plugins apply to it. A model's test run has none."""
        shown = {name: value for name, value in task.options.items() if name != "thread"}
        options = MappingProxyType(copy.deepcopy(shown))  # lists and tables, too, are the task's own
        facts = TaskFacts(command=task.command, model=task.model.name, options=options, is_part=not task.is_result)
        self._tasks[task.id] = hooks = TaskHooks(facts, prompt_texts(task))
        hooks.failed |= self._failed_models.get(task.model.name, {})
        if not task.is_trial:
            hooks.plugins = tuple(plugin for plugin in self._plugins if self._applies(task.id, plugin, facts))

    def _applies(self, task_id: str, plugin: LoadedPlugin, facts: TaskFacts) -> bool:
        if APPLIES not in plugin.hooks:
            return True
        return self._call(task_id, plugin, APPLIES, _as_boolean, task=facts) is not False

    def take_notes(self, task_id: str) -> list[str]:
        """Forget the task; returns what its result should say."""
        hooks = self._tasks.pop(task_id, None)
        return [NO_EFFECT.format(name=name, reason=reason) for name, reason in (hooks.failed.items() if hooks else ())]

    def facts_of(self, task_id: str) -> TaskFacts | None:
        hooks = self._tasks.get(task_id)
        return hooks.facts if hooks is not None else None

    def changes_tensors(self, task_id: str) -> tuple[str, ...]:
        """The names of the plugins that may change how the task's images are computed."""
        hooks = self._tasks.get(task_id)
        plugins = hooks.plugins if hooks is not None else ()
        return tuple(plugin.name for plugin in plugins if not plugin.hooks.keys().isdisjoint(TENSOR_HOOKS))

    def model_loaded(self, model: str, pipeline: Any) -> None:
        """The model's own safety filter stays, whatever a plugin does to it."""
        self._failed_models[model] = {}
        kept = {name: getattr(pipeline, name) for name in SAFETY_PARTS if hasattr(pipeline, name)}
        for plugin in self._plugins:
            if MODEL_LOADED in plugin.hooks:
                problem, _ = self._try(plugin, MODEL_LOADED, pipeline=pipeline, model=model)
                self._failed_models[model] |= {plugin.name: problem} if problem else {}
        for name, part in kept.items():
            setattr(pipeline, name, part)

    # ------------------------------------------------------------ calls

    def has_hook(self, task_id: str, hook: str) -> bool:
        return bool(self.plugins_with(task_id, hook))

    def plugins_with(self, task_id: str, hook: str) -> list[str]:
        """The names of those that apply to the task and have this hook."""
        hooks = self._tasks.get(task_id)
        return [plugin.name for plugin in (hooks.plugins if hooks is not None else ()) if hook in plugin.hooks]

    def change(
        self,
        task_id: str,
        hook: str,
        value: Any,
        check: Callable[[Any, Any], Any],
        give: Callable[[Any], Mapping[str, Any]],
    ) -> tuple[Any, list[str]]:
        """The value after this hook of each plugin that applies to the task, and the plugins that have changed it.

        Args:
            check: gets the value and what a hook returned, if not None; returns the new value. Raises: PluginMistake.
            give: the hook's arguments for a value.
        """
        changed = []
        hooks = self._tasks.get(task_id)
        for plugin in hooks.plugins if hooks is not None else ():
            if hook in plugin.hooks:
                found = self._call(task_id, plugin, hook, _checked(check, value), **give(value))
                if found is not None:
                    value = found
                    changed.append(plugin.name)
        return value, changed

    def blame(self, task_id: str, names: Sequence[str], hook: str, error: BaseException) -> None:
        """What these plugins changed could not be computed: the image was made without them."""
        for name in names:
            self._report(name, hook, error, task_id)
            if task_id in self._tasks:
                self._tasks[task_id].failed[name] = _explain(error)

    def _call(
        self, task_id: str, plugin: LoadedPlugin, hook: str, check: Callable[[Any], Any], **arguments: Any
    ) -> Any:
        """What the hook returned, as `check` has it; None: nothing, or it failed."""
        problem, value = self._try(plugin, hook, check, task_id, **arguments)
        if problem:
            self._tasks[task_id].failed[plugin.name] = problem
        return value

    def _try(
        self,
        plugin: LoadedPlugin,
        hook: str,
        check: Callable[[Any], Any] = lambda _: None,
        task_id: str = "",
        **arguments: Any,
    ) -> tuple[str, Any]:
        """Why it had no effect, and what it returned, as `check` has it."""
        function, names = plugin.hooks[hook]
        given = {"plugin": plugin.context, **arguments}
        self._send(PluginCall(plugin.name, hook))
        try:
            returned = function(*(given[name] for name in names))
            return "", None if returned is None else check(returned)
        except BaseException as error:  # whatever a plugin raises
            self._report(plugin.name, hook, error, task_id)
            return _explain(error), None
        finally:
            self._send(PluginCall())

    def _report(self, plugin: str, hook: str, error: BaseException, task_id: str = "") -> None:
        words = self._tasks[task_id].words if task_id in self._tasks else ()
        self._send(PluginFailed(plugin, hook, describe_problem(error, words)))
        traceback.clear_frames(error.__traceback__)  # they may hold the tensors of an image


def _explain(error: BaseException) -> str:
    return UNUSABLE if isinstance(error, PluginMistake) else FAILED


def describe_problem(error: BaseException, words: Sequence[str] = ()) -> str:
    """One line: what went wrong, and in which line of the plugin, without these words."""
    if isinstance(error, PluginMistake):
        return redact(str(error), words)[:MAX_PROBLEM]
    frames = traceback.extract_tb(error.__traceback__)
    place = f" (line {frames[-1].lineno} of {frames[-1].filename.rpartition('/')[2]})" if frames else ""
    text = " ".join(redact(error_text(error), words).split())
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return line[: MAX_PROBLEM - len(place)] + place


def _hooks_of(name: str, plugin: Any) -> Mapping[str, tuple[Callable[..., Any], Sequence[str]]]:
    """The worker's hooks that the plugin implements. Raises: PluginMistake."""
    registry = HookRegistry(WorkerHooks)
    try:
        registry.register(plugin, name)
    except pluggy.PluginValidationError as error:
        raise PluginMistake(" ".join(str(error).split())) from None
    found = registry.hooks_of(plugin)
    for hook, (function, _) in found.items():
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise PluginMistake(f"{hook} must be a plain function, neither async nor a generator.")
    if not found:
        raise PluginMistake("It has no hooks for the worker.")
    return found


def _checked(check: Callable[[Any, Any], Any], value: Any) -> Callable[[Any], Any]:
    return lambda returned: check(value, returned)


def _as_boolean(returned: Any) -> bool:
    if not isinstance(returned, bool):
        raise PluginMistake(f"{APPLIES} must return True, False or None, not {type(returned).__name__}.")
    return returned
