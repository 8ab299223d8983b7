"""Gets one model here: fetches, verifies, loads and tries it. Who may have it is not decided here."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from bot import error_texts
from bot.commands import COMMANDS, Command
from bot.errors import EaselError, EngineError, ModelRefused, StorageFull, UserError
from bot.jobs import ImageRef, Media
from bot.memory.fit import gib
from bot.models import (
    IMAGE_TO_IMAGE,
    Arrival,
    ModelSpec,
)
from bot.ports import Described, Done, Downloads, Listing, Measured, Pool, Progress, Task, TaskImage, Transfer, Wanted

TRIAL_SEED = 7


def wanted_of(spec: ModelSpec) -> list[Wanted]:
    """The repos that a model needs from a hub: its own, and those of its LoRAs."""
    own = [Wanted(repo=spec.repo, revision=spec.revision, variant=spec.variant, file=spec.file)]
    return [*own, *(Wanted(repo=lora) for lora in spec.loras)]


async def fetched(downloads: Downloads, listing: Listing) -> AsyncGenerator[Transfer, None]:
    """What `downloads.fetch` tells, and a full disk in the owner's words: it is where models go, not where jobs go.

    Raises: DownloadFailed, ModelRefused.
    """
    try:
        async with aclosing(downloads.fetch(listing)) as transfers:
            async for transfer in transfers:
                yield transfer
    except StorageFull as full:
        detail = f"{gib(full.need_mb)} on the disk, {gib(full.free_mb)} are free"
        raise ModelRefused(listing.wanted.repo, "disk", detail=detail) from full


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the model made when it was tried: a picture or a text, in `seconds` of device time."""

    task: str
    picture: Media | None = None
    text: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Installer:
    """Runs one installation. `tell` hears of every change of its standing."""

    downloads: Downloads
    pool: Pool
    sample: Media
    """A picture to ask about and to start from."""
    tell: Callable[[Arrival], None]
    learn: Callable[[Measured | Described], None] = lambda _event: None

    async def fetch(self, listings: Sequence[Listing]) -> None:
        """Raises: DownloadFailed, ModelRefused: the disk is full."""
        total = sum(listing.total for listing in listings)
        done = 0
        for listing in listings:
            async with aclosing(fetched(self.downloads, listing)) as transfers:
                async for transfer in transfers:
                    left = total - done - transfer.done
                    self.tell(
                        Arrival(
                            stage=transfer.stage,
                            done=done + transfer.done,
                            total=total,
                            rate=transfer.rate,
                            eta_s=left / transfer.rate if transfer.rate else transfer.eta_s,
                        )
                    )
            done += listing.total

    async def attempt(self, spec: ModelSpec) -> list[Trial]:
        """One small job for each kind of thing that the model does. Raises: ModelRefused, with why it failed."""
        made: list[Trial] = []
        for command, task in _commands_of(spec):
            self.tell(Arrival(stage="loading" if not made else "trying"))
            try:
                made.append(await self._try(spec, command, task))
            except EaselError as error:
                raise ModelRefused(spec.called, "trial", detail=reason_of(error)) from error
        return made

    async def _try(self, spec: ModelSpec, command: Command, task: str) -> Trial:
        images = (TaskImage("init", self.sample),) if command.images else ()
        run = Task(
            id=f"trial-{spec.name}-{time.monotonic_ns()}",
            command=command.name,
            answers=command.answers.value,
            task=task,
            model=spec,
            options=command.fill_options(spec, TRIAL_SEED),
            images=images,
            alone=True,
            urgent=True,
        )
        done = await self._run(run)
        picture = done.pictures[0].media if done.pictures else None
        if picture is None and not (done.text or "").strip():
            raise EngineError("it made nothing")
        return Trial(task=task, picture=picture, text=done.text or "", seconds=done.seconds, notes=done.notes)

    async def _run(self, task: Task) -> Done:
        async with aclosing(self.pool.run(task)) as events:
            async for event in events:
                match event:
                    case Progress() if not event.note:
                        self.tell(Arrival(stage="trying", done=event.step, total=event.steps))
                    case Measured() | Described():
                        self.learn(event)
                    case Done():
                        return event
        raise EngineError("the pool ended without a result")


def _commands_of(spec: ModelSpec) -> list[tuple[Command, str]]:
    """The smallest request of each task, those without a picture first."""
    found = []
    for task in spec.tasks:
        kind = next((kind for kind in COMMANDS.values() if task in kind.smoke_tests), None)
        if kind is None:
            continue
        has_picture = kind.images_needed > 0 or task == IMAGE_TO_IMAGE
        images = (ImageRef("0" * 64),) if has_picture else ()
        found.append((kind(values=kind.smoke_test_values, images=images), task))
    return sorted(found, key=lambda pair: bool(pair[0].images))


def reason_of(error: BaseException) -> str:
    """Why, in words for the owner: an engine's own detail, which strangers never read."""
    detail = getattr(error, "detail", "")
    if isinstance(error, UserError) or not detail:
        return error_texts.explain(error).rstrip(".")
    return str(detail).splitlines()[0][:300].rstrip(".")
