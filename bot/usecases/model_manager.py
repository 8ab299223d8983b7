"""Installing models while the server runs: terms, download, smoke tests, activation.

A new model goes live only after its smoke tests passed on this machine. Until then its jobs wait in the queue; if the
installation fails they are refunded, and the models in use stay as they were.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from bot import error_texts
from bot.errors import EaselError, ModelRefused
from bot.jobs import Media
from bot.memory.fit import FitEstimate, MachineSpec, estimate_fit
from bot.memory.loaded_together import find_loaded_together, order_models
from bot.model_install.installer import Installer, failure_reason, refuse_lacking_format, required_repos
from bot.model_install.owner_config import write_config
from bot.models import TORCH, InstallProgress, ModelRegistry, ModelSpec
from bot.ports import (
    Downloads,
    JobStore,
    Measurement,
    MeasurementStore,
    ModelCapabilities,
    OwnerModelConfig,
    Pool,
    Progress,
    RepoListing,
    RepoRef,
    UnloadResult,
)
from bot.problem_texts.model_problems import NOTHING_COMPILED
from bot.queue.pricing import Rates
from bot.queue.progress import ProgressBus
from bot.queue.recovery import fail_orphaned_jobs
from bot.usecases.installations import Installation, InstallTerms
from bot.usecases.number_formats import format_settings

log = structlog.get_logger(__name__)

NOTIFY_INTERVAL_S = 3.0
"""Interval at which jobs that wait for a model are notified of its progress."""
NOTIFY_BATCH = 200
RESERVED_DISK_BYTES = 2**30
"""Free disk space that a download leaves, bytes."""


@dataclass(kw_only=True)
class ModelManager:
    """Attributes:
    extra_repos: repos that every model except demos needs, such as the safety classifier.
    read_prequantized: the method and precision in which the files of a local model's denoiser are quantized. Blocking.
    """

    models: ModelRegistry
    downloads: Downloads
    pool: Pool
    owner_config: OwnerModelConfig
    store: JobStore
    measurements: MeasurementStore
    rates: Rates
    progress_bus: ProgressBus
    sample_image: Callable[[], Media]
    machine_spec: Callable[[], Awaitable[MachineSpec]]
    wake: Callable[[Iterable[str]], None]
    extra_repos: Sequence[RepoRef] = ()
    read_prequantized: Callable[[ModelSpec], tuple[str, str]] = lambda _model: ("", "")

    _installations: dict[str, Installation] = field(default_factory=dict)
    _notified_at: dict[str, float] = field(default_factory=dict)
    _background_tasks: set[asyncio.Task[None]] = field(default_factory=set)

    # ------------------------------------------------------------ information

    async def estimate_fits(self) -> dict[str, FitEstimate]:
        """How each model and preset would run on this machine."""
        machine = await self.machine_spec()
        return {spec.name: estimate_fit(spec, machine) for spec in self.models.all_specs}

    async def unload_idle_models(self) -> UnloadResult:
        """Unload every model that no job is using; its next job loads it again."""
        unloaded = await self.pool.unload_idle_models()
        log.info("idle models unloaded", action="released", models=list(unloaded.models), mb=unloaded.freed_mb)
        return unloaded

    async def get_terms(self, name: str, *, weights: str = "", precision: str = "") -> InstallTerms:
        """Inspects the repos of a model on a hub. Empty `weights` and `precision`: the model's.

        Raises: InvalidOption, ModelRefused, DownloadFailed.
        """
        spec = self.models.require(name)
        terms = await self._read_terms(spec, format_settings(spec, weights, precision))
        models = order_models(self.models, terms.spec)
        together = await asyncio.to_thread(find_loaded_together, models, await self.machine_spec())
        return replace(terms, together=together)

    async def _read_terms(self, spec: ModelSpec, settings: Mapping[str, Any]) -> InstallTerms:
        """Without `together`. `settings`: of the model, to be changed. Raises: ModelRefused, DownloadFailed."""
        spec, machine = replace(spec, **settings), await self.machine_spec()
        fit = estimate_fit(spec, machine)
        on_torch = replace(spec, backend=TORCH) if settings else spec
        if spec.is_local:
            stored = await asyncio.to_thread(self.read_prequantized, spec)
            refuse_lacking_format(on_torch, *stored, kind=machine.kind)
        listings = [await self.downloads.inspect_repo(ref) for ref in self._required_repos(spec)]
        if not spec.is_local:
            refuse_lacking_format(on_torch, listings[0].prequantized, listings[0].precision, kind=machine.kind)
        return InstallTerms(
            spec=spec,
            listings=tuple(listings),
            fit=fit,
            missing_bytes=sum(listing.missing_bytes for listing in listings),
            free_bytes=min((listing.free_bytes for listing in listings), default=0),
            is_gated=any(listing.is_gated for listing in listings),
            settings=settings,
        )

    def _required_repos(self, spec: ModelSpec) -> list[RepoRef]:
        return [*required_repos(spec), *(() if spec.demo or spec.is_local else self.extra_repos)]

    def status(self, name: str) -> Installation | None:
        """The model's latest installation since startup."""
        return self._installations.get(name)

    async def wait_for_change(self, installation: Installation) -> None:
        """Return when it has changed since the last call."""
        await installation.changed.wait()
        installation.changed.clear()

    # ------------------------------------------------------------ installing

    async def use_model(
        self,
        name: str,
        *,
        tasks: Sequence[str] = (),
        licence_accepted: bool = False,
        force: bool = False,
        download_only: bool = False,
        weights: str = "",
        precision: str = "",
    ) -> Installation:
        """Start to download, test and activate a model for these tasks, or for all that it supports, in the background.

        Args:
            force: even if it is not expected to fit.
            download_only: for a later `use_model`.
            weights, precision: its number formats from now on, as `quantize` and `dtype`; empty: as they are.

        Raises: InvalidOption, ModelRefused, DownloadFailed.
        """
        spec = self.models.require(name)
        self._refuse_running_install(spec)
        if unsupported := [task for task in tasks if task not in spec.tasks]:
            raise ModelRefused(spec.display_name, "task", detail=", ".join(unsupported))
        terms = await self._read_terms(spec, format_settings(spec, weights, precision))
        if terms.requires_licence and not licence_accepted:
            raise ModelRefused(spec.display_name, "licence", detail="; ".join(terms.licences))
        if terms.missing_bytes and terms.missing_bytes + RESERVED_DISK_BYTES > terms.free_bytes:
            needed = _format_gib(terms.missing_bytes + RESERVED_DISK_BYTES)
            detail = f"{needed} on the disk, {_format_gib(terms.free_bytes)} are free"
            raise ModelRefused(spec.display_name, "disk", detail=detail)
        if terms.fit.place == "no" and not force:
            raise ModelRefused(spec.display_name, "memory", detail=terms.fit.missing)
        return self._start_install(terms, tuple(tasks) or spec.tasks, download_only=download_only)

    def start_work(self, installation: Installation, work: Callable[[], Awaitable[None]] | None) -> None:
        """Do something else to a model that is installed, which is followed and cancelled like its installation. None:
        it is done already. Raises: ModelRefused: it is being installed.
        """
        self._refuse_running_install(installation.spec)
        self._installations[installation.spec.name] = installation
        if work is None:
            self._finish_install(installation)
        else:
            running = self._run_work(installation, work)
            installation.task = asyncio.create_task(running, name=f"work on {installation.spec.name}")

    async def _run_work(self, installation: Installation, work: Callable[[], Awaitable[None]]) -> None:
        async with self._failing(installation):
            await work()
            self._finish_install(installation)

    def _refuse_running_install(self, spec: ModelSpec) -> None:
        if (running := self._installations.get(spec.name)) is not None and not running.is_finished:
            raise ModelRefused(spec.display_name, "arriving" if running.optimization is None else "compiling")

    def _start_install(
        self, terms: InstallTerms, tasks: tuple[str, ...], *, download_only: bool = False
    ) -> Installation:
        spec = terms.spec
        self._refuse_running_install(spec)  # it may have been started while the hub was asked
        is_new = not download_only and self._is_new(spec.name)
        preset = replace(self.models.require(spec.name), enabled=False) if is_new else None
        installation = Installation(
            spec=spec, tasks=tasks, preset=preset, download_only=download_only, settings=terms.settings
        )
        self._installations[spec.name] = installation
        if not download_only:
            self.owner_config.set_pending_install(spec.name, tasks, terms.settings)
        if is_new:
            self.models.add_model(replace(spec, enabled=True, default_for=()))
            self.models.set_install_progress(spec.name, installation.progress)
        running = self._run_install(installation, terms.listings)
        installation.task = asyncio.create_task(running, name=f"installation of {spec.name}")
        return installation

    async def resume_installs(self) -> None:
        """Resume installations that a restart interrupted."""
        for pending in self.owner_config.pending_installs():
            try:
                terms = await self._read_terms(self.models.require(pending.name), pending.settings)
                self._start_install(terms, pending.tasks)
            except EaselError as error:
                spec = self.models.find(pending.name) if self._is_new(pending.name) else None
                preset = replace(spec, enabled=False) if spec is not None else None
                await self._abandon_install(pending.name, failure_reason(error), preset)

    def _is_new(self, name: str) -> bool:
        """Whether the model is not installed yet."""
        return self.models.get(name) is None or self.models.install_progress(name) is not None

    async def close(self) -> None:
        """Stop running installations; they resume at the next start."""
        installing = [one.task for one in self._installations.values() if one.task is not None]
        for task in (*installing, *self._background_tasks):
            task.cancel()
        await asyncio.gather(*installing, *self._background_tasks, return_exceptions=True)

    async def cancel_install(self, name: str) -> Installation:
        """Cancel an installation; partial downloads are kept for resuming. Raises: ModelRefused: there is none."""
        installation = self._installations.get(self.models.require(name).name)
        if installation is None or installation.is_finished or installation.task is None:
            raise ModelRefused(name, "not_arriving")
        installation.task.cancel()
        await asyncio.gather(installation.task, return_exceptions=True)
        is_download = installation.optimization is None
        await self._fail_install(installation, error_texts.STOPPED if is_download else NOTHING_COMPILED)
        return installation

    async def cancel_running_install(self, name: str) -> None:
        """The same, but does nothing if there is none."""
        installation = self._installations.get(name)
        if installation is not None and not installation.is_finished:
            await self.cancel_install(name)

    # ------------------------------------------------------------ one installation

    async def _run_install(self, installation: Installation, listings: Sequence[RepoListing]) -> None:
        spec = installation.spec
        installer = Installer(
            downloads=self.downloads,
            pool=self.pool,
            sample_image=self.sample_image(),
            on_progress=lambda progress: self.report_progress(installation, progress),
            on_event=self._record_event,
        )
        async with self._failing(installation):
            await installer.download([one for one in listings if one.missing_bytes])
            if installation.download_only:
                self._finish_install(installation)
                return
            ready = self._pin_commit(spec, listings)
            installation.smoke_tests = tuple(await installer.run_smoke_tests(ready))
            self._activate(installation, ready)

    @asynccontextmanager
    async def _failing(self, installation: Installation) -> AsyncIterator[None]:
        """The outermost frame of a background task: an error ends the installation with a sentence."""
        try:
            yield
        except EaselError as error:
            await self._fail_install(installation, error_texts.explain(error))
        except Exception as error:
            incident, name = secrets.token_hex(4), installation.spec.name
            log.error("installation failed", action="install_failed", model=name, incident=incident, exc_info=error)
            await self._fail_install(installation, error_texts.explain(error, incident=incident))

    def _pin_commit(self, spec: ModelSpec, listings: Sequence[RepoListing]) -> ModelSpec:
        """Enable the model at the downloaded commit, which protects it from later changes on the hub."""
        own_repo = next(iter(listings), None)
        if own_repo is None or spec.is_local:
            return replace(spec, enabled=True)
        return replace(spec, enabled=True, revision=own_repo.commit, variant=own_repo.variant)

    def _activate(self, installation: Installation, ready: ModelSpec) -> None:
        """Make the model available for jobs. Raises: ModelRefused."""
        table: dict[str, Any] = {"enabled": True, **installation.settings}
        table |= {"revision": ready.revision} if ready.revision else {}
        if ready.variant != installation.spec.variant:
            table["variant"] = ready.variant
        demos = [] if ready.demo else [spec.name for spec in self.models if spec.demo]
        write_config(
            lambda: self.owner_config.enable_model(ready.name, table, installation.tasks, replaced_demos=demos)
        )
        known = self.models.get(ready.name)
        other_tasks = tuple(task for task in ready.default_for if task not in installation.tasks)
        capabilities = known.capabilities if known else {}
        self.models.add_model(
            replace(ready, default_for=(*installation.tasks, *other_tasks), capabilities=capabilities)
        )
        self._finish_install(installation)
        log.info("model enabled", action="model_used", model=ready.name, revision=ready.revision)

    async def _fail_install(self, installation: Installation, sentence: str) -> None:
        installation.error = sentence
        await self._abandon_install(installation.spec.name, sentence, installation.preset)
        self._finish_install(installation)

    async def _abandon_install(self, name: str, reason: str, preset: ModelSpec | None) -> None:
        """Give the model up and refund the jobs that waited for it; one that was installed before serves on."""
        log.warning("model not installed", action="model_refused", model=name, reason=reason)
        self.owner_config.set_pending_install(name, None)
        if preset is not None:
            self.models.remove_model(name, preset)
            await fail_orphaned_jobs(self.store, self.models)
            self.wake([])

    def _finish_install(self, installation: Installation) -> None:
        name = installation.spec.name
        self.owner_config.set_pending_install(name, None)
        self.models.set_install_progress(name, None)
        self.pool.set_models(self.models.installed())
        installation.is_finished = True
        installation.changed.set()
        self.wake([])

    def _record_event(self, event: Measurement | ModelCapabilities) -> None:
        match event:
            case Measurement():
                self.rates.add_measurement(event)
            case ModelCapabilities():
                self.models.set_capabilities(event.model, event.capabilities)
        self._run_in_background(self._store_event(event))

    async def _store_event(self, event: Measurement | ModelCapabilities) -> None:
        match event:
            case Measurement():
                await self.measurements.record_measurement(event)
            case ModelCapabilities():
                await self.measurements.record_capabilities(event.model, event.capabilities)

    # ------------------------------------------------------------ progress

    def report_progress(self, installation: Installation, progress: InstallProgress) -> None:
        name, now = installation.spec.name, time.monotonic()
        is_new_stage = progress.stage != installation.progress.stage
        installation.progress = progress
        installation.changed.set()
        if installation.is_new:
            self.models.set_install_progress(name, progress)
            if is_new_stage or now - self._notified_at.get(name, 0.0) >= NOTIFY_INTERVAL_S:
                self._notified_at[name] = now
                self._run_in_background(self._notify_waiting_jobs(name))

    async def _notify_waiting_jobs(self, name: str) -> None:
        others = [spec.name for spec in self.models if spec.name != name]
        for job in await self.store.orphaned(others, NOTIFY_BATCH):
            if job.model == name and self.progress_bus.is_followed(job.id):
                self.progress_bus.publish_progress(job.id, Progress(step=0, steps=0, phase="waiting"))

    def _run_in_background(self, work: "Awaitable[None]") -> None:
        """Best effort: the caller does not wait, and errors are only logged."""

        async def guarded() -> None:
            try:
                await work
            except EaselError as error:
                log.debug("background task failed", action="tell_failed", code=error.code)

        task = asyncio.create_task(guarded())
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)


def _format_gib(size: int) -> str:
    """Bytes as GiB."""
    return f"{size / 2**30:.1f} GiB"
