"""Model sources for tests: a hub that has every repository, and files of a configurable kind."""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.errors import ModelRefused
from bot.jobs import Media
from bot.memory.fit import MachineSpec
from bot.model_install.owner_config import ModelConfigFile
from bot.models import TEXT_TO_IMAGE, ModelSpec
from bot.ports import (
    BuildProgress,
    BuildReport,
    BuildRequest,
    BuildState,
    CheckpointInfo,
    CivitaiFile,
    CivitaiRef,
    DownloadProgress,
    HubFile,
    PromptAddon,
    RepoListing,
    RowSpeed,
)
from composition.usecases import ModelSources

COMMIT = "c" * 40
MB = 2**20
FOX = ModelSpec(
    name="fox", title="Fox XL", tasks=(TEXT_TO_IMAGE,), repo="org/fox", enabled=False, licence="fox-1.0", steps=2,
    width=64, height=64, download_mb=100, licence_url="https://hub.test/org/fox", commercial=False, ram_mb=1000,
)  # fmt: skip
"""A preset."""
SAMPLE = Media(b"a picture", "image/png")


AGAIN_S = 0.2
CIVITAI = "https://civitai.com/models/1"


class FakeHub:
    """One file of 100 MB per repository, downloaded in two steps. `errors["inspect_repo"]` and `errors["download"]` are
    raised."""

    def __init__(self) -> None:
        self.errors: dict[str, Exception] = {}
        self.downloaded: list[str] = []
        self.removed: list[str] = []
        self.inspected: list[Any] = []
        self.free, self.licence, self.kind = 100 * 2**30, "apache-2.0", "StableDiffusionPipeline"
        self.missing = True
        self.prequantized = ""
        self.civitai_file = CivitaiFile(
            title="Ink v2", page="https://civitai.test/models/1", file="Ink_v2.safetensors", url="", size=7,
            sha256="a" * 64, trigger_words=("ink drawing",),
        )  # fmt: skip
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def inspect_repo(self, ref):
        self.inspected.append(ref)
        if "inspect_repo" in self.errors:
            raise self.errors["inspect_repo"]
        file = HubFile(path="model.safetensors", size=100 * MB, is_cached=not self.missing)
        return RepoListing(
            ref=ref, commit=COMMIT, files=(file,), licence=self.licence, class_name=self.kind, free_bytes=self.free,
            prequantized=self.prequantized,
        )  # fmt: skip

    async def download(self, listing):
        for done in (40 * MB, 100 * MB):
            yield DownloadProgress(done=done, total=100 * MB, rate=20.0 * MB, eta_s=3.0)
            while not self.go_on.is_set():  # reports the progress again and again, as the hub process does
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.go_on.wait(), AGAIN_S)
                yield DownloadProgress(done=done, total=100 * MB, rate=20.0 * MB, eta_s=3.0)
            if "download" in self.errors:
                raise self.errors["download"]
        self.downloaded.append(listing.ref.repo)

    def civitai_ref(self, source):
        return CivitaiRef(model_id=1) if source == CIVITAI else None

    async def inspect_civitai(self, ref):
        return self.civitai_file

    async def download_civitai(self, file, folder):
        path = folder / f"{file.sha256}.safetensors"
        path.write_bytes(b"weights")
        return path

    async def disk_usage(self):
        return {"org/fox": 100 * MB}

    async def delete_repo(self, repo):
        self.removed.append(repo)
        return 100 * MB


SPEEDS = tuple(RowSpeed(rows, 0.3 * rows, 0.2 * rows) for rows in (1, 2, 4, 8))
FASTER = BuildReport(
    backend="openvino", precision="float32", weights="none", speeds=SPEEDS, torch_mb=57, backend_mb=121, disk_mb=58,
    levels=1, prompts=8, steps=8,
)  # fmt: skip


class FakeBuilds:
    """Makes every build in two steps, with the report `report`. `error` is raised before the report.

    While `go_on` is not set, a build stops before its report. `made` are requests, `stopped` those that were closed.
    """

    def __init__(self) -> None:
        self.report = FASTER
        self.error: Exception | None = None
        self.stored: dict[tuple[str, ...], BuildReport] = {}
        self.made: list[BuildRequest] = []
        self.stopped: list[BuildRequest] = []
        self.is_paused: Any = None
        self.installed = True
        self.go_on = asyncio.Event()
        self.go_on.set()

    def is_installed(self, backend):
        return self.installed

    def find(self, request):
        if not self.installed:
            raise ModelRefused(request.model.display_name, "no_backend", detail=request.backend)
        return self.stored.get(request.names)

    async def make(self, request, *, is_paused):
        self.made.append(request)
        self.is_paused = is_paused
        is_done = False
        try:
            yield BuildProgress("exporting")
            yield BuildProgress("trying", 4, 20)
            await self.go_on.wait()
            if self.error is not None:
                raise self.error
            report = replace(
                self.report, backend=request.backend, precision=request.precision, weights=request.weights,
                dtype=request.model.dtype, quantize=request.model.quantize,
            )  # fmt: skip
            self.stored[request.names] = report
            is_done = True
            yield report
        finally:
            if not is_done:
                self.stopped.append(request)

    def list_states(self, models):
        return [
            BuildState(
                key="/".join(names), model=names[0], backend=names[1], precision=names[2], weights=names[3], size_mb=58,
                loras=names[4], report=report,
            )
            for names, report in self.stored.items()
        ]  # fmt: skip

    def remove_build(self, key):
        return 58 * MB if self.stored.pop(tuple(key.split("/")), None) else 0

    def remove(self, model, backend=""):
        names = [one for one in self.stored if one[0] == model and backend in ("", one[1])]
        for one in names:
            del self.stored[one]
        return 58 * MB * len(names)


class FakeFiles:
    """Every file is of one `kind`."""

    def __init__(self) -> None:
        self.kind = CheckpointInfo(kind="unknown")
        self.kept: list[PromptAddon] = []
        self.converted: list[Path] = []
        self.place: Path | None = None
        self.downloads = Path("/nowhere")

    async def identify(self, path):
        return self.kind

    async def convert_weights(self, path):
        self.converted.append(path)
        return self.downloads / f"{path.stem}.safetensors"

    def identify_class(self, name):
        return self.kind

    async def store_addon(self, path, addon, *, in_place=False):
        self.kept.append(replace(addon, size=7, path=str(path) if in_place else ""))
        return self.kept[-1]

    def list_addons(self):
        return self.kept

    async def has_addon(self, name):
        return any(one.name == name for one in self.kept)

    async def delete_addon(self, name):
        left = [one for one in self.kept if one.name != name]
        freed = sum(one.size for one in self.kept) - sum(one.size for one in left) or None
        self.kept[:] = left
        return freed

    def download_dir(self):
        return self.downloads

    async def delete_download(self, path):
        is_ours = path.parent == self.downloads and path.is_file()
        size = path.stat().st_size if is_ours else 0
        if is_ours:
            path.unlink()
        return size

    def read_prequantized(self, model):
        return self.kind.prequantized, ""

    def cached_path(self, repo, revision):
        return self.place


def fake_model_sources(data_dir: Path, shipped: Iterable[ModelSpec]) -> ModelSources:
    """A `FakeHub` and `FakeFiles`, and a machine of 8 GB without an accelerator."""
    presets = {spec.name: spec for spec in shipped}

    async def hardware() -> MachineSpec:
        return MachineSpec(devices=(("cpu", "cpu", 8000),), ram_mb=8000, free_ram_mb=8000, disk_free_mb=10**6)

    return ModelSources(
        downloads=FakeHub(),
        files=FakeFiles(),
        builds=FakeBuilds(),
        owner_config=ModelConfigFile(data_dir, lambda: presets),
        machine_spec=hardware,
        sample_image=lambda: SAMPLE,
    )
