"""The parent's side of compiled builds: starts a process for each, relays its progress, and lets it wait for people."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

from bot.errors import EaselError, ModelRefused, ModelUnavailable
from bot.models import ModelSpec
from bot.ports import BuildProgress, BuildReport, BuildRequest, BuildState
from inference.backends import builds
from inference.ipc import messages
from inference.ipc.build_messages import MakeBuild
from inference.ipc.pause_relay import relay_pauses
from inference.ipc.process import ChildProcess


@dataclass
class BuilderClient:
    """Implements `bot.ports.Builds`. `folder`: of all builds; `module`: what the process runs."""

    folder: Path
    threads: int = 0
    module: str = "inference.diffusion.execution.denoiser_builder"
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def remove_unfinished(self) -> int:
        """What builds have left that were killed with the whole program."""
        return builds.remove_unfinished(self.folder)

    def is_installed(self, backend: str) -> bool:
        return bool(builds.library_version(backend))

    def find(self, request: BuildRequest) -> BuildReport | None:
        if not self.is_installed(request.backend):
            raise ModelRefused(request.model.display_name, "no_backend", detail=request.backend)
        found = builds.find_stored(request, self.folder)
        return found.report if found is not None else None

    async def make(
        self, request: BuildRequest, *, is_paused: Callable[[], bool]
    ) -> AsyncGenerator[BuildProgress | BuildReport, None]:
        if self._turn.locked():
            yield BuildProgress("waiting")
        async with self._turn, aclosing(self._make(request, is_paused)) as events:
            async for event in events:
                yield event

    async def _make(
        self, request: BuildRequest, is_paused: Callable[[], bool]
    ) -> AsyncGenerator[BuildProgress | BuildReport, None]:
        name = request.model.display_name
        try:
            child = await ChildProcess.start("builder", self.module, threads=self.threads)
        except OSError as error:
            raise ModelRefused(name, "build", detail="the process that compiles it could not be started") from error
        relaying = asyncio.create_task(relay_pauses(child, is_paused))
        try:
            plain = replace(request, model=replace(request.model, capabilities={}))
            child.send(MakeBuild(request=plain, folder=str(self.folder), threads=self.threads))
            while True:
                message = await _receive(child, name)
                yield message
                if isinstance(message, BuildReport):
                    return
        finally:
            relaying.cancel()
            await child.close()
            await asyncio.to_thread(self.remove_unfinished)

    def list_states(self, models: Sequence[ModelSpec]) -> list[BuildState]:
        specs = {spec.name: spec for spec in models}
        return [_state_of(build, specs.get(build.names[0]), self.folder) for build in builds.list_builds(self.folder)]

    def remove(self, model: str, backend: str = "") -> int:
        found = builds.list_builds(self.folder)
        try:
            return builds.remove_builds(one for one in found if one.names[0] == model and backend in ("", one.names[1]))
        except OSError as error:
            detail = f"its builds in {self.folder} cannot be deleted ({error.strerror or error})"
            raise ModelRefused(model, "build", detail=detail) from error

    def remove_build(self, key: str) -> int:
        with contextlib.suppress(OSError):
            return builds.remove_builds(one for one in builds.list_builds(self.folder) if one.path.name == key)
        return 0


async def _receive(child: ChildProcess, name: str) -> BuildProgress | BuildReport:
    """Raises: ModelRefused: the reason why there is no build."""
    message: object = None
    with contextlib.suppress(messages.ProtocolError):
        message = await child.receive()
    match message:
        case BuildProgress() | BuildReport():
            return message
        case messages.PackedError():
            raise _as_refusal(messages.unpack_error(message), name)
    raise ModelRefused(name, "build", detail="the process that compiled it ended, perhaps because memory ran out")


def _as_refusal(error: EaselError, name: str) -> ModelRefused:
    if isinstance(error, ModelRefused):
        return ModelRefused(name, error.problem, detail=error.detail)
    detail = getattr(error, "detail", "") or error.code
    return ModelRefused(name, "build", detail=str(detail).strip().splitlines()[-1][:300].rstrip("."))


def _state_of(build: builds.StoredBuild, model: ModelSpec | None, folder: Path) -> BuildState:
    name, backend, precision, weights, loras = build.names
    return BuildState(
        key=build.path.name,
        model=name,
        backend=backend,
        precision=precision,
        weights=weights,
        loras=loras,
        size_mb=-(-build.size_bytes // 2**20),
        problem=_problem_of(build, model, folder),
        report=build.report,
    )


def _problem_of(build: builds.StoredBuild, model: ModelSpec | None, folder: Path) -> str:
    """As `BuildState.problem`."""
    if model is None:
        return "model" if build.names[0] else "damaged"
    if not build.is_intact:
        return "damaged"
    _, backend, precision, weights, _ = build.names
    request = BuildRequest(model=model, backend=backend, precision=precision, weights=weights, loras=build.loras)
    try:
        wanted = builds.key_parts(request, folder)
    except ModelUnavailable:
        return "weights"
    made = build.manifest.parts
    return next((part for part in ("library", "processor", "form", "weights") if wanted[part] != made.get(part)), "")
