"""Choosing models while the house runs: what there is, what it takes, fetching, trying, switching, removing.

A model is had by people only after it made something here. Until then its jobs wait, and if it cannot be had they are
refunded; whatever goes wrong, the models that were there before stay as they were.
"""

import asyncio
import difflib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from bot import error_texts
from bot.errors import ConfigError, EaselError, ModelRefused
from bot.jobs import Media
from bot.memory.fit import Fit, Hardware, fit
from bot.model_install.installer import Installer, Trial, reason_of, wanted_of
from bot.models import ARRIVING, Arrival, Models, ModelSpec
from bot.ports import (
    Choices,
    Described,
    Downloads,
    Freed,
    JobStore,
    Learned,
    Listing,
    Measured,
    ModelFiles,
    Pool,
    Progress,
    Wanted,
)
from bot.queue.pricing import Rates
from bot.queue.progress import Events
from bot.queue.recovery import fail_stranded

log = structlog.get_logger(__name__)

TELL_S = 3.0
"""How often those who wait for a model hear how far it is."""
TELL_AT_ONCE = 200
RESERVE = 2**30
"""Bytes that a download leaves free."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What an owner should know before a model is fetched. `missing` and `free` are bytes."""

    spec: ModelSpec
    listings: tuple[Listing, ...] = ()
    fits: Fit
    missing: int = 0
    free: int = 0
    is_gated: bool = False

    @property
    def licences(self) -> tuple[str, ...]:
        """Of the whole, or of each part."""
        spec = self.spec
        said = spec.licence or next((one.licence for one in self.listings if one.licence), "")
        return spec.licences or ((said,) if said else ())

    @property
    def must_accept(self) -> bool:
        """There is a licence that nobody here has accepted by using the model."""
        return bool(self.licences) and not self.spec.demo and not self.spec.enabled


@dataclass(kw_only=True)
class Installation:
    """One model's way here. `error` is a sentence; both it and `trials` come with the end."""

    spec: ModelSpec
    tasks: tuple[str, ...]
    is_new: bool
    only_fetch: bool = False
    arrival: Arrival = field(default_factory=lambda: Arrival(stage="downloading"))
    error: str = ""
    trials: tuple[Trial, ...] = ()
    is_over: bool = False
    work: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(kw_only=True)
class ModelUseCases:
    """`also`: repos that come with every model that is no demo, such as the classifier of pictures."""

    models: Models
    downloads: Downloads
    pool: Pool
    choices: Choices
    files: ModelFiles
    store: JobStore
    learned: Learned
    rates: Rates
    events: Events
    sample: Callable[[], Media]
    hardware: Callable[[], Awaitable[Hardware]]
    wake: Callable[[Iterable[str]], None]
    also: Sequence[Wanted] = ()

    _installs: dict[str, Installation] = field(default_factory=dict)
    _told_at: dict[str, float] = field(default_factory=dict)
    _telling: set[asyncio.Task[None]] = field(default_factory=set)

    # ------------------------------------------------------------ looking

    def find(self, name: str) -> ModelSpec:
        """A model or preset. Raises: ModelRefused with the nearest names."""
        found = self.models.find(name.strip().casefold())
        if found is None:
            known = [spec.name for spec in self.models.known]
            near = difflib.get_close_matches(name, known, 3, cutoff=0.4) or known
            raise ModelRefused(name[:60], "unknown", detail=", ".join(near))
        return found

    async def fits(self) -> dict[str, Fit]:
        """How each model and preset would run on this machine."""
        hardware = await self.hardware()
        return {spec.name: fit(spec, hardware) for spec in self.models.known}

    async def release(self) -> Freed:
        """Unload every model that nothing runs on; the next job loads its own again."""
        freed = await self.pool.release()
        log.info("memory was released", action="released", models=list(freed.models), mb=freed.freed_mb)
        return freed

    async def terms(self, name: str) -> Terms:
        """Asks the hub when the model comes from there. Raises: ModelRefused, DownloadFailed."""
        spec = self.find(name)
        fits = fit(spec, await self.hardware())
        if spec.is_local:
            return Terms(spec=spec, fits=fits)
        listings = [await self.downloads.look(wanted) for wanted in self._wanted(spec)]
        return Terms(
            spec=spec,
            listings=tuple(listings),
            fits=fits,
            missing=sum(listing.missing for listing in listings),
            free=min(listing.free for listing in listings),
            is_gated=any(listing.is_gated for listing in listings),
        )

    def _wanted(self, spec: ModelSpec) -> list[Wanted]:
        return [*wanted_of(spec), *(() if spec.demo else self.also)]

    def standing(self, name: str) -> Installation | None:
        """The latest installation of the model since the start."""
        return self._installs.get(name)

    async def changes(self, installation: Installation) -> None:
        """Returns when it has changed since the last call."""
        await installation.changed.wait()
        installation.changed.clear()

    # ------------------------------------------------------------ using

    async def use(
        self,
        name: str,
        *,
        tasks: Sequence[str] = (),
        accepted: bool = False,
        anyway: bool = False,
        only_fetch: bool = False,
    ) -> Installation:
        """Begin to fetch, try and switch to a model, for these tasks or all it can do; it goes on by itself.

        `accepted`: its licence. `anyway`: though it is not expected to fit. `only_fetch`: for a later `use`.

        Raises: ModelRefused, DownloadFailed.
        """
        spec = self.find(name)
        if (found := self._installs.get(spec.name)) is not None and not found.is_over:
            raise ModelRefused(spec.called, "arriving")
        unable = [task for task in tasks if task not in spec.tasks]
        if unable:
            raise ModelRefused(spec.called, "task", detail=", ".join(unable))
        terms = await self.terms(spec.name)
        if terms.must_accept and not accepted:
            raise ModelRefused(spec.called, "licence", detail="; ".join(terms.licences))
        if terms.missing and terms.missing + RESERVE > terms.free:
            detail = f"{_gib(terms.missing + RESERVE)} on the disk, {_gib(terms.free)} are free"
            raise ModelRefused(spec.called, "disk", detail=detail)
        if terms.fits.place == "no" and not anyway:
            raise ModelRefused(spec.called, "memory", detail=terms.fits.lacks)
        return self._begin(terms, tuple(tasks) or spec.tasks, only_fetch=only_fetch)

    def _begin(self, terms: Terms, tasks: tuple[str, ...], *, only_fetch: bool = False) -> Installation:
        spec = terms.spec
        if (found := self._installs.get(spec.name)) is not None and not found.is_over:
            raise ModelRefused(spec.called, "arriving")  # while the hub was asked
        is_new = not only_fetch and (self.models.get(spec.name) is None or self.models.arrival(spec.name) is not None)
        installation = Installation(spec=spec, tasks=tasks, is_new=is_new, only_fetch=only_fetch)
        self._installs[spec.name] = installation
        if not only_fetch:
            self.choices.note_on_the_way(spec.name, tasks)
        if is_new:
            self.models.put(replace(spec, enabled=True, default_for=()))
            self.models.arrives(spec.name, installation.arrival)
        work = self._install(installation, terms.listings)
        installation.work = asyncio.create_task(work, name=f"installation of {spec.name}")
        return installation

    async def resume(self) -> None:
        """Go on with what the last stop broke off."""
        for broken in self.choices.on_the_way():
            try:
                terms = await self.terms(broken.name)
                self._begin(terms, broken.tasks)
            except EaselError as error:
                await self._end_of(broken.name, reason_of(error))

    async def close(self) -> None:
        """Stop what is under way; the next start goes on with it."""
        works = [one.work for one in self._installs.values() if one.work is not None]
        for work in (*works, *self._telling):
            work.cancel()
        await asyncio.gather(*works, *self._telling, return_exceptions=True)

    async def stop(self, name: str) -> None:
        """Give an installation up; what was fetched stays for the next time. Raises: ModelRefused."""
        installation = self._installs.get(self.find(name).name)
        if installation is None or installation.is_over or installation.work is None:
            raise ModelRefused(name, "not_arriving")
        installation.work.cancel()
        await asyncio.gather(installation.work, return_exceptions=True)
        await self._fail(installation, error_texts.STOPPED)

    # ------------------------------------------------------------ one installation

    async def _install(self, installation: Installation, listings: Sequence[Listing]) -> None:
        spec = installation.spec
        installer = Installer(
            downloads=self.downloads,
            pool=self.pool,
            sample=self.sample(),
            tell=lambda arrival: self._tell(installation, arrival),
            learn=self._learn,
        )
        try:
            await installer.fetch([one for one in listings if one.missing])
            if installation.only_fetch:
                self._end(installation)
                return
            ready = self._as_fetched(spec, listings)
            installation.trials = tuple(await installer.attempt(ready))
            self._switch(installation, ready)
        except EaselError as error:
            await self._fail(installation, error_texts.explain(error))
        except Exception as error:  # the edge of a task that nobody waits for
            incident = secrets.token_hex(4)
            log.error("installing failed", action="install_failed", model=spec.name, incident=incident, exc_info=error)
            await self._fail(installation, error_texts.explain(error, incident=incident))

    def _as_fetched(self, spec: ModelSpec, listings: Sequence[Listing]) -> ModelSpec:
        """With the commit that was fetched, so that it stays the same model whatever the hub has tomorrow."""
        own = next(iter(listings), None)
        if own is None:
            return replace(spec, enabled=True)
        return replace(spec, enabled=True, revision=own.commit, variant=own.variant)

    def _switch(self, installation: Installation, ready: ModelSpec) -> None:
        """From here on people have it. Raises: ModelRefused."""
        table: dict[str, Any] = {"enabled": True} | ({"revision": ready.revision} if ready.revision else {})
        if ready.variant != installation.spec.variant:
            table["variant"] = ready.variant
        self.write(lambda: self.choices.choose(ready.name, table, installation.tasks))
        known = self.models.get(ready.name)
        kept = tuple(task for task in ready.default_for if task not in installation.tasks)
        form = known.form if known else {}
        self.models.put(replace(ready, default_for=(*installation.tasks, *kept), form=form))
        self._end(installation)
        log.info("a model is in use", action="model_used", model=ready.name, revision=ready.revision)

    async def _fail(self, installation: Installation, sentence: str) -> None:
        installation.error = sentence
        await self._end_of(installation.spec.name, sentence, is_new=installation.is_new)
        self._end(installation)

    async def _end_of(self, name: str, reason: str, *, is_new: bool = True) -> None:
        """It does not come; those who waited for it get their reserve back."""
        log.warning("a model does not come", action="model_refused", model=name, reason=reason)
        self.choices.note_on_the_way(name, None)
        if is_new:
            self.models.drop(name, self.choices.preset(name))
            await fail_stranded(self.store, self.models)
            self.wake([])

    def _end(self, installation: Installation) -> None:
        name = installation.spec.name
        self.choices.note_on_the_way(name, None)
        self.models.arrives(name, None)
        self.pool.know(self.models.ready())
        installation.is_over = True
        installation.changed.set()
        self.wake([])

    def _learn(self, event: Measured | Described) -> None:
        match event:
            case Measured():
                self.rates.learn(event)
            case Described():
                self.models.learn(event.model, event.form)
        self._later(self._keep(event))

    async def _keep(self, event: Measured | Described) -> None:
        match event:
            case Measured():
                await self.learned.record(event)
            case Described():
                await self.learned.record_form(event.model, event.form)

    def write(self, write: Callable[[], None]) -> None:
        """Raises: ModelRefused, with why the owner's file cannot be written."""
        try:
            write()
        except OSError as error:
            raise ModelRefused("config.toml", "unwritable", detail=error.strerror or str(error)) from error
        except ConfigError as error:
            raise ModelRefused("config.toml", "unwritable", detail=error.problems[0].rstrip(".")) from error

    # ------------------------------------------------------------ telling those who wait

    def _tell(self, installation: Installation, arrival: Arrival) -> None:
        name, now = installation.spec.name, time.monotonic()
        is_news = arrival.stage != installation.arrival.stage
        installation.arrival = arrival
        installation.changed.set()
        if installation.is_new:
            self.models.arrives(name, arrival)
            if is_news or now - self._told_at.get(name, 0.0) >= TELL_S:
                self._told_at[name] = now
                self._later(self._tell_waiting(name))

    async def _tell_waiting(self, name: str) -> None:
        others = [spec.name for spec in self.models if spec.name != name]
        for job in await self.store.stranded(others, TELL_AT_ONCE):
            if job.model == name and self.events.is_watched(job.id):
                self.events.progressed(job.id, Progress(step=0, steps=0, note=ARRIVING))

    def _later(self, work: "Awaitable[None]") -> None:
        """Best effort, beside what must not wait for it."""

        async def guarded() -> None:
            try:
                await work
            except EaselError as error:
                log.debug("not told", action="tell_failed", code=error.code)

        task = asyncio.create_task(guarded())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
