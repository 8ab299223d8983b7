"""Builds with LoRAs fused into them, made in the background for the sets that a compiled model's images use most.

Nobody waits for them: until such a build is made, and if it cannot be, images with LoRAs run on torch. One is made at a
time, in the process that makes all builds, which yields to people's jobs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from bot.errors import EaselError, ModelRefused
from bot.jobs import Job, JobState, Media
from bot.memory.fit import MachineSpec
from bot.memory.fused_sets import MAX_SETS, FusedSets
from bot.models import TORCH, ModelRegistry, ModelSpec
from bot.ports import BuildReport, BuildRequest, Builds, BuildState, LoraSet, Pool, describe_loras
from bot.prompts.grammar import find_lora_tags, prompt_at, task_prompts
from bot.prompts.lora_sets import lora_set
from bot.prompts.resolver import PromptResolver
from bot.usecases.model_manager import ModelManager
from bot.usecases.model_optimizing import is_busy, needed_mb, trial_device
from bot.usecases.number_formats import compiled_weights

log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class FusedBuilds:
    models: ModelRegistry
    manager: ModelManager
    builds: Builds
    pool: Pool
    prompt_resolver: PromptResolver
    machine_spec: Callable[[], Awaitable[MachineSpec]]
    sample_image: Callable[[], Media]
    clock: Callable[[], float] = time.monotonic

    _sets: dict[str, FusedSets] = field(default_factory=dict)
    """By model; since the start of the server."""
    _named: dict[tuple[str, str], "_NamedSet"] = field(default_factory=dict)
    """By model and name: those whose use is remembered."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _is_building: bool = False
    _is_closing: bool = False

    def observe(self, job: Job) -> None:
        """Count the images of a job that has just ended, and start a build if one is worth it now."""
        spec = self.models.get(job.model)
        is_done = job.state in (JobState.RENDERED, JobState.DELIVERED) and "prompt" in job.options
        if self._is_closing or spec is None or not is_done or not _runs_compiled(spec):
            return
        if any(find_lora_tags(prompt) for prompt in task_prompts(job.options)):
            task = asyncio.create_task(self._count(job, spec), name="LoRAs of a job")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop a running build; nothing of it is kept."""
        self._is_closing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------ counting

    async def _count(self, job: Job, spec: ModelSpec) -> None:
        """The outermost frame of a background task."""
        try:
            addons = await self.prompt_resolver.addons_used(job.options, spec)
            sets, now = self._sets.setdefault(spec.name, FusedSets()), self.clock()
            prompts = [prompt_at(job.options, index) for index in range(int(job.options.get("count", 1)))]
            used = [loras for prompt in prompts if (loras := lora_set(prompt, addons))]
            for loras in dict.fromkeys(used):
                await self._remember(spec, loras)
            for loras in used:
                sets.record_image(describe_loras(loras), now)
            if not self._is_building:
                await self._build_next(spec, sets)
        except EaselError as error:
            log.debug("no build with LoRAs", action="fused_build_skipped", model=spec.name, code=error.code)
        except Exception as error:
            log.error("a build with LoRAs failed", action="fused_build_failed", model=spec.name, exc_info=error)

    async def _remember(self, spec: ModelSpec, loras: LoraSet) -> None:
        """The files of a set's name; if they were replaced, what is known of it was about another set."""
        sets, name = self._sets[spec.name], describe_loras(loras)
        found = _NamedSet(loras, await asyncio.to_thread(_read_times, loras))
        before = self._named.get((spec.name, name))
        if before is not None and before.loras == loras and before.times != found.times:
            sets.forget(name)
        self._named[spec.name, name] = found
        if len(self._named) > 2 * MAX_SETS:
            self._named = {key: one for key, one in self._named.items() if self._sets[key[0]].is_known(key[1])}

    # ------------------------------------------------------------ building

    async def _build_next(self, spec: ModelSpec, sets: FusedSets) -> None:
        self._is_building = True
        try:
            states = await self._states_of(spec)
            wanted = sets.next_build({state.loras for state in states}, self.clock())
            if wanted is None or not await self._has_memory(spec):
                return
            request = BuildRequest(
                model=spec,
                backend=spec.backend,
                precision=str(spec.capabilities["dtype"]),
                weights=compiled_weights(spec),
                loras=self._named[spec.name, wanted].loras,
                image=self.sample_image(),
                torch_dtype="float32",  # of what is beside a build on the processor
            )
            await self._make(request, sets, wanted)
            await self._remove_surplus(spec, sets)
        finally:
            self._is_building = False

    async def _make(self, request: BuildRequest, sets: FusedSets, name: str) -> None:
        """A build that fails, changes images or is no quicker than torch is not tried again."""
        report = None
        try:
            async with aclosing(self.builds.make(request, is_paused=partial(is_busy, self.pool))) as events:
                async for event in events:
                    report = event if isinstance(event, BuildReport) else report
        except ModelRefused as refused:
            log.warning(
                "no build with LoRAs", action="fused_build_refused", model=request.model.name, reason=refused.detail
            )
        if report is not None and report.is_better:
            log.info("build with LoRAs made", action="fused_build_made", model=request.model.name, levels=report.levels)
            return
        sets.refuse(name)
        if report is not None:
            log.info(
                "a build with LoRAs is not better than torch", action="fused_build_refused", model=request.model.name,
                levels=report.levels, gain=round(report.gain, 2),
            )  # fmt: skip
            await self._remove([one for one in await self._states_of(request.model) if one.loras == name])

    async def _states_of(self, spec: ModelSpec) -> list[BuildState]:
        """The model's builds with LoRAs; those that fit nothing any more, such as those of the backend or number format
        that it ran on before, are deleted."""
        states = await asyncio.to_thread(self.builds.list_states, list(self.models.all_specs))
        own = [one for one in states if one.model == spec.name and one.loras]
        format_now = (spec.backend, spec.capabilities["dtype"], compiled_weights(spec))
        fitting = [one for one in own if not one.problem and (one.backend, one.precision, one.weights) == format_now]
        await self._remove([one for one in own if one not in fitting])
        return fitting

    async def _remove_surplus(self, spec: ModelSpec, sets: FusedSets) -> None:
        states = await self._states_of(spec)
        surplus = sets.surplus({state.loras for state in states}, self.clock())
        await self._remove([one for one in states if one.loras in surplus])

    async def _remove(self, states: list[BuildState]) -> None:
        for state in states:
            freed = await asyncio.to_thread(self.builds.remove_build, state.key)
            log.info("build with LoRAs deleted", action="fused_build_deleted", model=state.model, mb=freed // 2**20)

    async def _has_memory(self, spec: ModelSpec) -> bool:
        """Whether there is room to compile, without unloading anything, and nobody else compiles this model.

        Never on a graphics card: that its memory is free is not known, and people's jobs are on it.
        """
        if trial_device(self.pool) != "cpu":
            return False
        running = self.manager.status(spec.name)
        if running is not None and not running.is_finished:
            return False
        return (await self.machine_spec()).free_ram_mb >= needed_mb(spec)


@dataclass(frozen=True)
class _NamedSet:
    """`times`: when its files were changed."""

    loras: LoraSet
    times: tuple[int, ...]


def _read_times(loras: LoraSet) -> tuple[int, ...]:
    """0: the file is gone."""
    paths = [Path(path) for path, _ in loras]
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def _runs_compiled(spec: ModelSpec) -> bool:
    """Whether a build computes its steps now."""
    return spec.backend != TORCH and spec.capabilities.get("backend") == spec.backend
