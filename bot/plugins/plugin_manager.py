"""The plugins of this server: starts those that are enabled, switches them, and says what became of each.

A plugin that cannot be imported, configured or started is left out, and its state says why; the server runs without it.
"""

import asyncio
import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pluggy
import structlog

from bot.errors import ConfigError
from bot.plugins.child_functions import ChildFunctions
from bot.plugins.command_options import BadCommand
from bot.plugins.discovery import FOLDER, STATE_FOLDER, FoundPlugin, find_plugins
from bot.plugins.hook_calls import HookCall, RunningPlugin
from bot.plugins.hook_runner import MAX_PROBLEM, MAX_TIMEOUTS, HookFailed, HookRunner
from bot.plugins.hook_values import PluginContext, Refusal
from bot.plugins.hookspecs import ServerHooks
from bot.plugins.plugin_commands import OwnCommand, check_commands
from bot.plugins.plugin_errors import error_line, error_text
from bot.plugins.plugin_settings import ENABLED, TIME_LIMIT, PluginsSettings, read_own_settings
from bot.plugins.plugin_states import OwnerPluginConfig, PluginState
from bot.plugins.registry import HookRegistry
from bot.plugins.server_modules import defaults_of, forget_module, load_server_plugin
from bot.plugins.switch_off_reasons import SwitchOffReasons
from bot.ports.worker_plugins import WorkerPlugin
from bot.problem_texts.plugin_problems import PluginRefused

log = structlog.get_logger()

START_LIMIT_S = 60.0
"""Of the import, and of `easel_start`."""
STOP_LIMIT_S = 5.0
HUNG = "Its hooks took too long {count} times in a row, so it was switched off. Switch it on again once it is repaired."


@dataclass
class _Entry:
    """One plugin that was found.

    Attributes:
        found: as it was when it was started; of one that is not in use, as it is now.
        problem: why it is not used now.
        is_in_use: it was started, and not stopped since: it runs here, or workers load it.
    """

    found: FoundPlugin
    is_enabled: bool
    problem: str = ""
    last_error: str = ""
    loaded_by_worker: frozenset[str] | None = None
    running: RunningPlugin | None = None
    is_in_use: bool = False


@dataclass(kw_only=True)
class PluginManager:
    """Implements `bot.ports.WorkerPlugins`, too.

    `other_commands`: names that plugins cannot give to theirs. `on_switched`: workers may have to load others now.
    """

    data_dir: Path
    settings: PluginsSettings = field(default_factory=PluginsSettings)
    config: OwnerPluginConfig | None = None
    other_commands: Collection[str] = ()
    find: Callable[[Path], list[FoundPlugin]] = find_plugins
    on_switched: Callable[[], None] = lambda: None
    switched: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the next switch of a plugin; another event follows it."""

    _entries: dict[str, _Entry] = field(default_factory=dict)
    _registry: HookRegistry = field(default_factory=lambda: HookRegistry(ServerHooks))
    _switching: asyncio.Lock = field(default_factory=asyncio.Lock)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        await self._scan()
        for name in self._ordered_names():
            if self._entries[name].is_enabled:
                await self._start(self._entries[name])
        for name in {*self.settings.order, *self.settings.disabled, *self.settings.tables} - self._entries.keys():
            log.warning("a plugin in the settings is not there", action="plugin_missing", plugin=name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(self._stop(entry) for entry in self._entries.values()))
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _scan(self) -> None:
        """Also finds files that were added or changed since; what runs stays."""
        there = {found.name: found for found in await asyncio.to_thread(self.find, self.data_dir)}
        for name in [name for name, entry in self._entries.items() if name not in there and not entry.is_in_use]:
            del self._entries[name]
        for found in there.values():
            entry = self._entries.get(found.name)
            if entry is None:
                is_enabled = self.settings.is_enabled(found.name)
                reason = "" if is_enabled else self._reasons.read(found.name)
                self._entries[found.name] = _Entry(found, is_enabled, reason)
            elif not entry.is_in_use:
                entry.found = found

    def _ordered_names(self) -> list[str]:
        return sorted(self._entries, key=self.settings.rank)

    @property
    def _reasons(self) -> SwitchOffReasons:
        return SwitchOffReasons(self.data_dir)

    # ------------------------------------------------------------ starting and stopping

    async def _start(self, entry: _Entry) -> None:
        entry.problem = await self._find_problem(entry)
        entry.is_in_use = not entry.problem
        if entry.problem:
            log.error("a plugin is not used", action="plugin_left_out", plugin=entry.found.name, problem=entry.problem)
        elif entry.running is not None:
            running = entry.running
            log.info("plugin started", action="plugin_started", plugin=running.name, hooks=sorted(running.hooks))

    async def _find_problem(self, entry: _Entry) -> str:
        """Start its side of the server, if it has one; "": it runs, or workers may load it."""
        found = entry.found
        if found.problem:
            return found.problem
        if not found.is_for_server:
            known = found.defaults is not None  # of a package, only the worker reads them
            return read_own_settings(found.name, found.defaults or {}, self.settings).problem if known else ""
        runner = HookRunner(name=found.name, limit_s=START_LIMIT_S, on_problem=lambda text: self._note(entry, text))
        try:
            loaded = await runner.call("import", (load_server_plugin, ("plugin",)), {"plugin": found})
            return await self._run(entry, loaded, runner)
        except HookFailed:
            return _cannot_start(entry.last_error)
        except Exception as error:  # whatever a plugin does wrong must not stop the server
            log.error("a plugin cannot be started", action="plugin_failed", plugin=found.name, exc_info=error)
            return _cannot_start(error_line(error))

    async def _run(self, entry: _Entry, loaded: Any, runner: HookRunner) -> str:
        found = entry.found
        own = read_own_settings(found.name, defaults_of(loaded), self.settings)
        if own.problem:
            return own.problem
        folder = self.data_dir / FOLDER / STATE_FOLDER / found.name
        await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        functions = ChildFunctions(found.name, found.path)
        context = PluginContext(
            name=found.name,
            settings=copy.deepcopy(dict(own.values)),
            folder=folder,
            run_in_process=functions.run,
        )
        try:
            self._registry.register(loaded, found.name)
        except (pluggy.PluginValidationError, ValueError) as error:
            return f"It cannot be used: {str(error).splitlines()[-1]}."
        running = RunningPlugin(
            loaded=loaded,
            context=context,
            hooks=self._registry.hooks_of(loaded),
            runner=runner,
            functions=functions,
        )
        try:
            await running.call("easel_start", limit_s=START_LIMIT_S)
            running.commands = check_commands(
                found.name, await running.call("easel_commands", limit_s=START_LIMIT_S) or (), self._taken_commands()
            )
        except Exception as error:  # whatever it returns
            await self._end(running)
            return _explain_start(error, entry.last_error)
        runner.limit_s, runner.on_hung = own.time_limit_s, lambda: self._hang(entry)
        entry.running = running
        return ""

    def _tell_switched(self) -> None:
        self.on_switched()
        switched, self.switched = self.switched, asyncio.Event()
        switched.set()

    def _taken_commands(self) -> set[str]:
        return {*self.other_commands, *self.commands}

    def _note(self, entry: _Entry, text: str) -> None:
        entry.last_error = text.encode("utf-8", "replace").decode()

    def _hang(self, entry: _Entry) -> None:
        """Its threads do not end, so it gets no more of them."""
        entry.problem = HUNG.format(count=MAX_TIMEOUTS)
        log.error("a plugin was switched off", action="plugin_hung", plugin=entry.found.name)
        self._stop_soon(entry)
        self._tell_switched()

    def _stop_soon(self, entry: _Entry) -> None:
        running, entry.running, entry.is_in_use = entry.running, None, False
        if running is not None:
            task = asyncio.get_running_loop().create_task(self._end(running))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _stop(self, entry: _Entry) -> None:
        running, entry.running, entry.is_in_use = entry.running, None, False
        if running is not None:
            await self._end(running)

    async def _end(self, running: RunningPlugin) -> None:
        running.runner.close()
        running.runner = HookRunner(name=running.name, limit_s=STOP_LIMIT_S)
        try:
            await running.call("easel_stop")
        except (HookFailed, Refusal) as error:
            log.warning("a plugin did not stop", action="plugin_stop_failed", plugin=running.name, error=str(error))
        running.runner.close()
        await asyncio.to_thread(running.functions.kill)
        self._registry.unregister(running.loaded)
        forget_module(running.name)

    # ------------------------------------------------------------ for admins

    async def list_states(self) -> list[PluginState]:
        """In the order in which they are called."""
        await self._scan()
        return [self._state_of(self._entries[name]) for name in self._ordered_names()]

    def _state_of(self, entry: _Entry) -> PluginState:
        found, running = entry.found, entry.running
        server_hooks = running.hooks if running is not None else found.server_hooks
        worker_hooks = entry.loaded_by_worker if entry.loaded_by_worker is not None else found.worker_hooks
        return PluginState(
            name=found.name,
            source=found.source,
            is_enabled=entry.is_enabled,
            is_running=entry.is_in_use,
            server_hooks=sorted(server_hooks),
            worker_hooks=sorted(worker_hooks),
            commands=[command.name for command in running.commands] if running is not None else (),
            problem=entry.problem or found.problem,
            last_error=entry.last_error,
        )

    async def set_enabled(self, name: str, is_enabled: bool) -> PluginState:
        """Switch a plugin, now and for every start; its hooks that are running have no effect then. Switching it on
        reads its file anew.

        Raises: PluginRefused.
        """
        async with self._switching:
            entry = await self._save_switch(name, is_enabled)
            await asyncio.gather(*self._closing, return_exceptions=True)  # it may have been switched off just now
            await self._stop(entry)
            if is_enabled:
                await self._scan()
                await self._start(entry)
            self._tell_switched()
            log.info("plugin switched", action="plugin_switched", plugin=name, enabled=is_enabled)
            return self._state_of(entry)

    async def save_enabled(self, name: str, is_enabled: bool) -> PluginState:
        """The same for the next start alone: nothing runs here. Raises: PluginRefused."""
        return self._state_of(await self._save_switch(name, is_enabled))

    async def _save_switch(self, name: str, is_enabled: bool) -> _Entry:
        await self._scan()
        entry = self._entries.get(name)
        if entry is None:
            raise PluginRefused("unknown", name)
        await self._save_enabled(name, is_enabled)
        self._reasons.forget(name)
        entry.is_enabled, entry.last_error, entry.problem = is_enabled, "", ""
        return entry

    async def _save_enabled(self, name: str, is_enabled: bool) -> None:
        if self.config is None:
            return
        try:
            await asyncio.to_thread(self.config.set_enabled, name, is_enabled)
        except OSError as error:
            raise PluginRefused("unwritable", name, detail=error.strerror or str(error)) from error
        except ConfigError as error:
            raise PluginRefused("unwritable", name, detail=error.problems[0].rstrip(".")) from error

    # ------------------------------------------------------------ hooks of the server

    def list_calls(self, hook: str) -> list[HookCall]:
        """The plugins that have the hook, in order."""
        running = [self._entries[name].running for name in self._ordered_names()]
        return [HookCall(one, hook) for one in running if one is not None and hook in one.hooks]

    @property
    def commands(self) -> Mapping[str, OwnCommand]:
        """Of the plugins that run, by name."""
        running = [self._entries[name].running for name in self._ordered_names()]
        return {command.name: command for one in running if one is not None for command in one.commands}

    def find_running(self, name: str) -> RunningPlugin | None:
        entry = self._entries.get(name)
        return entry.running if entry is not None else None

    # ------------------------------------------------------------ hooks of the workers

    def list_for_worker(self) -> Sequence[WorkerPlugin]:
        entries = [self._entries[name] for name in self._ordered_names()]
        return [self._describe_for_worker(one) for one in entries if one.is_in_use and one.found.is_for_worker]

    def _describe_for_worker(self, entry: _Entry) -> WorkerPlugin:
        found = entry.found
        given = self.settings.tables.get(found.name, {})
        known = entry.running.context.settings if entry.running is not None else found.defaults or {}
        own = {key: value for key, value in {**known, **given}.items() if key not in (ENABLED, TIME_LIMIT)}
        limit_s = {**(found.defaults or {}), **given}.get(TIME_LIMIT, self.settings.time_limit_s)
        return WorkerPlugin(name=found.name, sha256=found.sha256, settings=own, time_limit_s=float(limit_s))

    def record_loaded(self, name: str, hooks: Sequence[str]) -> None:
        if (entry := self._entries.get(name)) is not None:
            entry.loaded_by_worker = frozenset(hooks)

    def record_failure(self, name: str, hook: str, sentence: str) -> None:
        if (entry := self._entries.get(name)) is not None:
            entry.last_error = f"{hook}: {sentence}"

    def disable_for_worker(self, name: str, reason: str) -> None:
        """Switched off now, and for every start, as soon as that can be written."""
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.is_enabled, entry.problem = False, reason
        log.error("a plugin was switched off", action="plugin_disabled", plugin=name, reason=reason)
        self._stop_soon(entry)
        self._tell_switched()
        task = asyncio.get_running_loop().create_task(self._save_disabled(name, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _save_disabled(self, name: str, reason: str) -> None:
        try:
            with suppress(OSError):
                await asyncio.to_thread(self._reasons.write, name, reason)
            await self._save_enabled(name, False)
        except PluginRefused as refused:
            log.error(
                "a plugin stays enabled in the settings", action="plugin_not_saved", plugin=name, error=str(refused)
            )


def _explain_start(error: Exception, last_error: str) -> str:
    """Why a plugin does not start, as a sentence."""
    match error:
        case BadCommand():
            return str(error)
        case HookFailed():
            return _cannot_start(last_error)
        case Refusal():
            return _cannot_start(error_text(error) or "it refuses to.")
    return _cannot_start(error_line(error))


def _cannot_start(why: str) -> str:
    return f"It cannot be started: {why}"[:MAX_PROBLEM]
