"""The catalogue of models: adding models and prompt add-ons, and removing them with their files."""

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bot.errors import EaselError, ModelRefused
from bot.memory.format_check import format_problem, installed_support
from bot.model_install.addon_files import PEFT_WEIGHTS, default_name
from bot.model_install.installer import download_repo, required_repos
from bot.model_install.owner_config import write_config
from bot.models import GGUF_SUFFIX, REPO, ModelRegistry, ModelSpec
from bot.ports import (
    CheckpointInfo,
    CivitaiRef,
    Downloads,
    JobStore,
    ModelFiles,
    OwnerModelConfig,
    Pool,
    PromptAddon,
    RepoListing,
    RepoRef,
)
from bot.prompts.addon_names import MAX_NAME, fold_name
from bot.queue.recovery import fail_orphaned_jobs
from bot.usecases.adapters import AdapterUseCases
from bot.usecases.control_advice import control_refusal

ADDON_KINDS = ("lora", "inversion")
UPSCALER_PICKLES = (".pth", ".pt")
"""Upscalers are mostly published in this format alone; it is converted once."""
_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")


@dataclass(frozen=True, kw_only=True)
class ModelCatalogue:
    """Adds and removes models and prompt add-ons.

    Attributes:
        cancel_install: cancels the model's installation, if one is running.
        remove_builds: deletes what was compiled for the model; returns the bytes freed. Blocking.
        extra_repos: repos that every model except demos needs, such as the safety classifier.
    """

    files: ModelFiles
    downloads: Downloads
    registry: ModelRegistry
    owner_config: OwnerModelConfig
    pool: Pool
    store: JobStore
    wake: Callable[[Iterable[str]], None]
    cancel_install: Callable[[str], Awaitable[None]]
    extra_repos: Sequence[RepoRef] = ()
    remove_builds: Callable[[str], int] = lambda _model: 0
    adapters: AdapterUseCases | None = None

    def list_addons(self) -> list[PromptAddon]:
        """The installed LoRAs and textual inversions."""
        return self.files.list_addons()

    async def add_model(
        self, source: str, *, name: str = "", file: str = "", base_model: str = "", weights: str = "auto"
    ) -> ModelSpec | PromptAddon:
        """Add a preset for `org/name`, a folder or a single-file model; copy a LoRA or textual inversion.

        `file`: the file to use of a repo. `base_model`: the repo or folder of a `.gguf` file's other components.
        `weights`: the model's number format, as `ModelSettings.quantize`. A model on the Hub is only inspected, one at
        Civitai is downloaded.

        Raises: ModelRefused, DownloadFailed, StorageFull.
        """
        if as_utf8(source) != source:
            raise ModelRefused(as_utf8(source)[:200], "name_encoding")
        if as_utf8(name) != name:
            raise ModelRefused(as_utf8(name)[:60], "name")
        path = await asyncio.to_thread(_readable_path, source)
        if path is not None and path.suffix.lower() in UPSCALER_PICKLES:
            return await self._add_converted(path, name or path.stem)
        if path is not None:
            info = await self.files.identify(path)
            if info.kind == "control":
                raise control_refusal(str(path), info, self.registry)
            if info.kind in ADDON_KINDS:
                return await self._store_addon(path, info, name or default_name(path))
            info = _with_settings(info, base_model, weights)
            return self._add_preset(await self._free_name(name or path.stem), info, str(path))
        if (ref := self.downloads.civitai_ref(source)) is not None:
            return await self._add_from_civitai(replace(ref, file=file), name)
        if not REPO.fullmatch(source):
            raise ModelRefused(source[:80], "format" if source.casefold().endswith(_PICKLES) else "no_file")
        listing = await self.downloads.inspect_repo(RepoRef(repo=source, file=file))
        requested = name or source.rpartition("/")[2]
        info = self.files.identify_class(listing.class_name)
        if info.kind == "control":
            raise control_refusal(source, info, self.registry, file)
        if not listing.class_name:
            await self._free_addon_name(requested)
            return await self._download_addon(listing, requested)
        known = {"licence": listing.licence, "download_mb": round(listing.total_bytes / 2**20), "file": file}
        known |= {"base_model": listing.base_model}
        info = replace(info, defaults={**info.defaults, **known}, prequantized=listing.prequantized)
        info = _with_settings(info, base_model, weights)
        return self._add_preset(await self._free_name(requested), info, source)

    async def _add_converted(self, path: Path, requested: str) -> ModelSpec:
        """Add an upscaler in PyTorch's own format, converted. Raises: ModelRefused; StorageFull."""
        name = await self._free_name(requested)
        converted = await self.files.convert_weights(path)
        try:
            return self._add_preset(name, await self.files.identify(converted), str(converted))
        except EaselError:
            await self._delete_unused_download(converted)
            raise

    async def _free_name(self, requested: str) -> str:
        """A model's name: ASCII, unlike an add-on's. Raises: ModelRefused."""
        return await self._unless_taken(_model_name(requested), requested)

    async def _free_addon_name(self, requested: str) -> str:
        """Raises: ModelRefused."""
        return await self._unless_taken(fold_name(requested), requested)

    async def _unless_taken(self, name: str, requested: str) -> str:
        if not name:
            raise ModelRefused(requested[:60], "name")
        is_adapter = self.adapters is not None and await self.adapters.has(name)
        if is_adapter or self.registry.find(name) is not None or await self.files.has_addon(name):
            raise ModelRefused(name, "taken")
        return name

    async def _store_addon(
        self,
        path: Path,
        info: CheckpointInfo,
        requested: str,
        *,
        trigger_words: Sequence[str] = (),
        in_place: bool = False,
    ) -> PromptAddon:
        """Raises: ModelRefused: it cannot be used, or its name is taken; StorageFull."""
        if info.reason:
            raise ModelRefused(requested, "addon", detail=info.reason)
        name = await self._free_addon_name(requested)
        spellings = dict.fromkeys((requested, *info.spellings))
        addon = PromptAddon(
            name=name,
            kind=info.kind,
            family=info.family,
            size=0,
            spellings=tuple(one for one in spellings if one.casefold() != name),
            trigger_words=tuple(trigger_words),
        )
        return await self.files.store_addon(path, addon, in_place=in_place)

    def _add_preset(self, name: str, info: CheckpointInfo, repo: str) -> ModelSpec:
        if not info.tasks:
            raise ModelRefused(name, "kind", detail=info.class_name or info.reason or "model of an unknown kind")
        table = {
            "tasks": list(info.tasks),
            "repo": repo,
            **{key: value for key, value in info.defaults.items() if value not in ("", None)},
            **({"variant": info.variant} if info.variant else {}),
            "enabled": False,
        }
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
        }
        spec = ModelSpec(name=name, **values)
        _refuse_impossible(spec, info.prequantized)
        write_config(lambda: self.owner_config.enable_model(name, table, ()))
        self.registry.add_preset(spec)
        return spec

    async def adopt(self, path: Path, requested: str) -> tuple[str, str, str]:
        """Add a model, LoRA or textual inversion where it is; returns "model" or the add-on's kind, name and family.

        Raises: ModelRefused, OSError.
        """
        info = await self.files.identify(path)
        if info.kind in ADDON_KINDS:
            addon = await self._store_addon(path, info, requested, in_place=True)
            return addon.kind, addon.name, addon.family
        return "model", self._add_preset(await self._free_name(requested), info, str(path)).name, info.family

    async def _add_from_civitai(self, ref: CivitaiRef, name: str) -> ModelSpec | PromptAddon:
        """Nothing is kept of a file that is refused. Raises: ModelRefused, DownloadFailed, StorageFull."""
        file = await self.downloads.inspect_civitai(ref)
        requested = name or file.file.removesuffix(".safetensors")
        await self._free_addon_name(requested)
        downloaded = await self.downloads.download_civitai(file, self.files.download_dir())
        try:
            info = await self.files.identify(downloaded)
            if info.kind in ADDON_KINDS:
                addon = await self._store_addon(downloaded, info, requested, trigger_words=file.trigger_words)
                await self._delete_unused_download(downloaded)
                return addon
            known = {"title": file.title[:60], "licence_url": file.page}
            info = replace(info, defaults={**info.defaults, **known})
            return self._add_preset(await self._free_name(requested), info, str(downloaded))
        except EaselError:
            await self._delete_unused_download(downloaded)
            raise

    async def _delete_unused_download(self, path: Path) -> int:
        """Returns the bytes freed: 0 if a model uses the file."""
        is_used = any(spec.repo == str(path) for spec in self.registry.all_specs)
        return 0 if is_used else await self.files.delete_download(path)

    async def _download_addon(self, listing: RepoListing, name: str) -> ModelSpec | PromptAddon:
        """A repo that is refused is deleted again. Raises: ModelRefused, DownloadFailed, StorageFull."""
        try:
            return await self._store_downloaded_addon(listing, name)
        except ModelRefused:
            await self._delete_unused_repos({listing.ref.repo})
            raise

    async def _store_downloaded_addon(self, listing: RepoListing, name: str) -> ModelSpec | PromptAddon:
        async with aclosing(download_repo(self.downloads, listing)) as events:
            async for _ in events:
                pass
        folder = self.files.cached_path(listing.ref.repo, listing.commit)
        weights = [folder / file.path for file in listing.files if file.path.endswith(".safetensors")] if folder else []
        if not weights:
            raise ModelRefused(listing.ref.repo, "kind", detail="repo without one file to take")
        info = await self.files.identify(weights[0])
        if info.kind == "upscaler":
            known = {"licence": listing.licence, "download_mb": round(listing.total_bytes / 2**20)}
            known |= {"file": weights[0].name}
            info = replace(info, defaults={**info.defaults, **known})
            return self._add_preset(await self._free_name(name), info, listing.ref.repo)
        if info.kind == "control":
            file = next(one.path for one in listing.files if one.path.endswith(".safetensors"))
            raise control_refusal(listing.ref.repo, info, self.registry, file)
        if info.kind not in ADDON_KINDS:
            raise ModelRefused(listing.ref.repo, "kind", detail=info.class_name or info.kind)
        return await self._store_addon(weights[0], info, name)

    async def remove_model(self, name: str, *, keeps_files: bool = False) -> int:
        """Remove a model, an add-on or an adapter and refund the jobs that wait for it; returns the bytes freed.

        Downloaded files that no other model needs are deleted; the owner's folders never are.

        Raises: ModelRefused, DownloadFailed.
        """
        freed = await self.files.delete_addon(fold_name(name))
        if freed is None and self.adapters is not None and self.registry.find(name.strip().casefold()) is None:
            freed = await self.adapters.remove(name)
        if freed is not None:
            return freed
        spec = self.registry.require(name)
        await self.cancel_install(spec.name)
        preset = self.owner_config.shipped_preset(spec.name)
        if spec.demo or (preset is not None and preset.enabled):
            raise ModelRefused(spec.display_name, "starter")
        write_config(lambda: self.owner_config.remove_model(spec.name))
        self.registry.remove_model(spec.name, preset)
        self.pool.set_models(self.registry.installed())
        await fail_orphaned_jobs(self.store, self.registry)
        self.wake([])
        freed = 0
        with contextlib.suppress(ModelRefused):  # `doctor` says which are left
            freed = await asyncio.to_thread(self.remove_builds, spec.name)
        if keeps_files:
            return freed
        if spec.is_local:
            return freed + await self._delete_unused_download(Path(spec.repo))
        return freed + await self._delete_unused_repos({ref.repo for ref in required_repos(spec)})

    async def _delete_unused_repos(self, repos: set[str]) -> int:
        """Returns the bytes freed. Raises: DownloadFailed."""
        still_needed = [ref for other in self.registry for ref in required_repos(other)]
        needed = {ref.repo for ref in (*still_needed, *self.extra_repos)}
        return sum([await self.downloads.delete_repo(repo) for repo in sorted(repos - needed)])


def _with_settings(info: CheckpointInfo, base_model: str, weights: str) -> CheckpointInfo:
    """With what the owner said beside the source."""
    said = {"base_model": base_model, "quantize": "" if weights == "auto" else weights}
    return replace(info, defaults={**info.defaults, **{key: value for key, value in said.items() if value}})


def _refuse_impossible(spec: ModelSpec, prequantized: str) -> None:
    """Raises: ModelRefused: it lacks its other components, or a library; `models use` asks for kernels."""
    if spec.is_gguf and not spec.base_model:
        raise ModelRefused(spec.name, "base_model")
    support = replace(installed_support(), kernels=True)
    if problem := format_problem(replace(spec, allow_hub_kernels=True), support, prequantized):
        raise ModelRefused(spec.name, "weights", detail=problem)


def _model_name(requested: str) -> str:
    """Of a name without any ASCII letter or digit a short hash, which is the same each time; empty without letters."""
    name = re.sub(r"[^a-z0-9]+", "-", requested.casefold())[:MAX_NAME].strip("-")
    if name or not fold_name(requested):
        return name
    return f"model-{hashlib.sha256(requested.encode()).hexdigest()[:6]}"


def as_utf8(path: str) -> str:
    """The path as text: names on the disk are bytes, which need not be UTF-8."""
    return path.encode(errors="replace").decode()


def _readable_path(source: str) -> Path | None:
    """A folder or a file of weights; None: it is missing, forbidden or another file. The answer must not tell which."""
    path = os.path.expanduser(source)
    if os.path.isfile(os.path.join(path, PEFT_WEIGHTS)):
        path = os.path.join(path, PEFT_WEIGHTS)
    if os.path.isdir(path):
        is_readable = os.access(path, os.R_OK | os.X_OK)
    else:
        is_known = path.endswith((".safetensors", GGUF_SUFFIX)) or path.lower().endswith(UPSCALER_PICKLES)
        is_readable = is_known and os.path.exists(path) and os.access(path, os.R_OK)
    return _resolve(Path(path)) if is_readable else None


def _resolve(path: Path) -> Path:
    """Without links, except one whose target has another ending: the blobs of a hub's cache have none."""
    resolved = path.resolve()
    return resolved if resolved.is_dir() or resolved.suffix == path.suffix else Path(os.path.abspath(path))
