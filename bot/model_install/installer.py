"""Downloads, verifies, loads and smoke-tests one model. Activation is decided elsewhere."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from bot import error_texts
from bot.commands import COMMANDS, Command
from bot.errors import EaselError, EngineError, ModelRefused, StorageFull, UserError, WorkerLost
from bot.jobs import ImageRef, Media
from bot.memory.fit import format_gib
from bot.memory.format_check import KERNEL_REPO, format_problem, installed_support
from bot.models import (
    IMAGE_TO_IMAGE,
    REPO,
    InstallProgress,
    ModelSpec,
    split_repo_file,
)
from bot.ports import (
    FORMAT,
    DownloadProgress,
    Downloads,
    Measurement,
    ModelCapabilities,
    Pool,
    Progress,
    RepoListing,
    RepoRef,
    Task,
    TaskImage,
    TaskOutput,
)

SMOKE_TEST_SEED = 7


def required_repos(spec: ModelSpec) -> list[RepoRef]:
    """The hub repos that a model needs: its own, that of a `.gguf` file's other components, those of its LoRAs, that of
    its detector, and the kernels that its owner allowed."""
    own = [] if spec.is_local else [_own_repo(spec)]
    if spec.is_gguf and REPO.fullmatch(spec.base_model) and not spec.base_model.startswith("models/"):
        own.append(RepoRef(repo=spec.base_model, without_denoiser=True))
    if spec.allow_hub_kernels:
        own.append(RepoRef(repo=KERNEL_REPO, is_kernel=True))
    own += dict.fromkeys(ref for kind in spec.controls if (ref := _control_repo(spec, kind)) is not None)
    detector = [spec.detector] if REPO.fullmatch(spec.detector) and not spec.detector.startswith("models/") else []
    named = map(split_repo_file, spec.loras)
    loras = [RepoRef(repo=repo, file=file, is_lora=True) for repo, file in named if REPO.fullmatch(repo)]
    return [*own, *loras, *(RepoRef(repo=repo) for repo in detector)]


def refuse_lacking_format(spec: ModelSpec, prequantized: str = "", precision: str = "", *, kind: str = "") -> None:
    """Before anything is downloaded; `prequantized` and `precision` as `format_problem` has them.

    Raises: ModelRefused: its number format cannot run here, on this kind of device.
    """
    if problem := format_problem(spec, installed_support(kind), prequantized, precision):
        raise ModelRefused(spec.display_name, "weights", detail=problem)


def _own_repo(spec: ModelSpec) -> RepoRef:
    return RepoRef(repo=spec.repo, revision=spec.revision, variant=spec.variant, file=spec.file)


def _control_repo(spec: ModelSpec, kind: str) -> RepoRef | None:
    """The hub repo of a control; None: its weights are a folder or file on this machine."""
    source = spec.control_source(kind)
    if source is None or not REPO.fullmatch(source.repo) or source.repo.startswith("models/"):
        return None
    return RepoRef(repo=source.repo, revision=source.revision, file=source.file)


async def download_repo(downloads: Downloads, listing: RepoListing) -> AsyncGenerator[DownloadProgress, None]:
    """The progress of `downloads.download`; a full disk is reported as the model cache's, not the queue's.

    Raises: DownloadFailed, ModelRefused.
    """
    try:
        async with aclosing(downloads.download(listing)) as events:
            async for progress in events:
                yield progress
    except StorageFull as full:
        detail = f"{format_gib(full.need_mb)} on the disk, {format_gib(full.free_mb)} are free"
        raise ModelRefused(listing.ref.repo, "disk", detail=detail) from full


@dataclass(frozen=True, kw_only=True)
class SmokeTest:
    """The output of one test generation: an image or a text, in `seconds` of device time."""

    task: str
    image: Media | None = None
    text: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Installer:
    """Runs one installation. `on_progress` is called with each change."""

    downloads: Downloads
    pool: Pool
    sample_image: Media
    """An input image for the tests."""
    on_progress: Callable[[InstallProgress], None]
    on_event: Callable[[Measurement | ModelCapabilities], None] = lambda _event: None

    async def download(self, listings: Sequence[RepoListing]) -> None:
        """Raises: DownloadFailed, ModelRefused: the disk is full."""
        total = sum(listing.total_bytes for listing in listings)
        done = 0
        for listing in listings:
            async with aclosing(download_repo(self.downloads, listing)) as events:
                async for progress in events:
                    remaining = total - done - progress.done
                    self.on_progress(
                        InstallProgress(
                            stage=progress.stage,
                            done=done + progress.done,
                            total=total,
                            rate=progress.rate,
                            eta_s=remaining / progress.rate if progress.rate else progress.eta_s,
                        )
                    )
            done += listing.total_bytes

    async def run_smoke_tests(self, spec: ModelSpec) -> list[SmokeTest]:
        """Run one small job for each kind of task that the model supports. Raises: ModelRefused, with the reason."""
        passed: list[SmokeTest] = []
        for command, task in _smoke_test_commands(spec):
            self.on_progress(InstallProgress(stage="loading" if not passed else "trying"))
            try:
                passed.append(await self._run_smoke_test(spec, command, task))
            except EaselError as error:
                raise ModelRefused(spec.display_name, "trial", detail=failure_reason(error)) from error
        return passed

    async def _run_smoke_test(self, spec: ModelSpec, command: Command, task: str) -> SmokeTest:
        images = (TaskImage("init", self.sample_image),) if command.images else ()
        test = Task(
            id=f"trial-{spec.name}-{time.monotonic_ns()}",
            command=command.name,
            answers=command.answers.value,
            task=task,
            model=spec,
            options=command.fill_options(spec, SMOKE_TEST_SEED),
            images=images,
            is_exclusive=True,
            is_urgent=True,
            is_trial=True,
        )
        output = await self._run_task(test)
        image = output.images[0].media if output.images else None
        if image is None and not (output.text or "").strip():
            raise EngineError("the output is empty")
        return SmokeTest(task=task, image=image, text=output.text or "", seconds=output.seconds, notes=output.notes)

    async def _run_task(self, task: Task) -> TaskOutput:
        """Once more if its repetition in another number format has ended the process: then there is none."""
        found: set[str] = set()
        try:
            return await self._follow_task(task, found)
        except WorkerLost:
            if FORMAT not in found:
                raise
        return await self._follow_task(replace(task, id=f"{task.id}-again"), found)

    async def _follow_task(self, task: Task, found: set[str]) -> TaskOutput:
        """`found`: gets what was measured."""
        async with aclosing(self.pool.run_task(task)) as events:
            async for event in events:
                match event:
                    case Progress(phase="running" | "finishing"):
                        self.on_progress(InstallProgress(stage="trying", done=event.step, total=event.steps))
                    case Measurement() | ModelCapabilities():
                        found.update([event.what] if isinstance(event, Measurement) else [])
                        self.on_event(event)
                    case TaskOutput():
                        return event
        raise EngineError("the pool ended without a result")


def _smoke_test_commands(spec: ModelSpec) -> list[tuple[Command, str]]:
    """The smallest request for each task; those without an input image come first."""
    commands = []
    for task in spec.tasks:
        kind = next((kind for kind in COMMANDS.values() if task in kind.smoke_tests), None)
        if kind is None:
            continue
        needs_image = kind.images_needed > 0 or task == IMAGE_TO_IMAGE
        images = (ImageRef("0" * 64),) if needs_image else ()
        commands.append((kind(values=kind.smoke_test_values, images=images), task))
    return sorted(commands, key=lambda pair: bool(pair[0].images))


def failure_reason(error: BaseException) -> str:
    """The reason as text for the owner; it includes an engine's detail, which other people never see."""
    detail = getattr(error, "detail", "")
    if isinstance(error, UserError) or not detail:
        return error_texts.explain(error).rstrip(".")
    lines = str(detail).strip().splitlines()
    is_traceback = lines[0].startswith("Traceback")
    return lines[-1 if is_traceback else 0][:300].rstrip(".")
