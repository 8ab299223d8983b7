"""Which models can be chosen: making more of them known, and taking them away with their files."""

import asyncio
import re
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bot.errors import ModelRefused
from bot.model_install.installer import fetched, wanted_of
from bot.models import REPO, ModelSpec
from bot.ports import Addition, Kind, Listing, Wanted
from bot.queue.recovery import fail_stranded
from bot.usecases.models import ModelUseCases

ADDITIONS = ("lora", "inversion")


@dataclass(frozen=True)
class CatalogueUseCases:
    using: ModelUseCases

    async def add(self, source: str, *, name: str = "", file: str = "") -> ModelSpec | Addition:
        """Make `org/name`, a folder or a whole model in one file known, so that it can be used; copy and keep a LoRA or
        a textual inversion.

        `file`: which of the repo's. Of a model on a hub nothing is fetched but what it is.

        Raises: ModelRefused, DownloadFailed, StorageFull.
        """
        path = await asyncio.to_thread(_existing, source)
        if path is not None:
            kind = await self.using.files.recognise(path)
            chosen = self._free_name(name or path.stem)
            if kind.kind in ADDITIONS:
                return await self.using.files.keep(path, kind, chosen)
            return self._add(chosen, kind, str(path))
        if not REPO.fullmatch(source):
            raise ModelRefused(source[:80], "no_file")
        listing = await self.using.downloads.look(Wanted(repo=source, file=file))
        chosen = self._free_name(name or source.rpartition("/")[2])
        kind = self.using.files.of_class(listing.kind)
        if not listing.kind:
            return await self._add_addition(listing, chosen)
        found = {"licence": listing.licence, "download_mb": round(listing.total / 2**20), "file": file}
        return self._add(chosen, replace(kind, defaults={**kind.defaults, **found}), source)

    def _free_name(self, wished: str) -> str:
        """Raises: ModelRefused."""
        name = re.sub(r"[^a-z0-9]+", "-", wished.casefold()).strip("-")
        if not name:
            raise ModelRefused(wished[:60], "name")
        taken = {spec.name for spec in self.using.models.known}
        if name in taken | {one.name for one in self.using.files.additions()}:
            raise ModelRefused(name, "taken")
        return name

    def _add(self, name: str, kind: Kind, repo: str) -> ModelSpec:
        if not kind.tasks:
            raise ModelRefused(name, "kind", detail=kind.class_name or kind.reason or "model of an unknown kind")
        table = {
            "tasks": list(kind.tasks),
            "repo": repo,
            **{key: value for key, value in kind.defaults.items() if value not in ("", None)},
            **({"variant": kind.variant} if kind.variant else {}),
            "enabled": False,
        }
        self.using.write(lambda: self.using.choices.choose(name, table, ()))
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
        }
        spec = ModelSpec(name=name, **values)
        self.using.models.offer(spec)
        return spec

    async def _add_addition(self, listing: Listing, name: str) -> Addition:
        async with aclosing(fetched(self.using.downloads, listing)) as transfers:
            async for _ in transfers:
                pass
        folder = self.using.files.cached(listing.wanted.repo, listing.commit)
        found = [folder / file.path for file in listing.files if file.path.endswith(".safetensors")] if folder else []
        if not found:
            raise ModelRefused(listing.wanted.repo, "kind", detail="repo without one file to take")
        kind = await self.using.files.recognise(found[0])
        if kind.kind not in ADDITIONS:
            raise ModelRefused(listing.wanted.repo, "kind", detail=kind.class_name or kind.kind)
        return await self.using.files.keep(found[0], kind, name)

    async def remove(self, name: str, *, keeps_files: bool = False) -> int:
        """Take a model away; jobs that wait for it are refunded. Of what was fetched, files that no other model needs
        are deleted; folders of the owner's never are. Returns the bytes freed. Raises: ModelRefused, DownloadFailed.
        """
        if freed := await self.using.files.drop(name):
            return freed
        spec = self.using.find(name)
        if (found := self.using.standing(spec.name)) is not None and not found.is_over:
            await self.using.stop(spec.name)
        preset = self.using.choices.preset(spec.name)
        if spec.demo or (preset is not None and preset.enabled):
            raise ModelRefused(spec.called, "starter")
        self.using.write(lambda: self.using.choices.forget(spec.name))
        self.using.models.drop(spec.name, preset)
        self.using.pool.know(self.using.models.ready())
        await fail_stranded(self.using.store, self.using.models)
        self.using.wake([])
        if keeps_files:
            return 0
        kept = [one for other in self.using.models for one in wanted_of(other)]
        needed = {one.repo for one in (*kept, *self.using.also)}
        repos = {one.repo for one in wanted_of(spec) if not spec.is_local} - needed
        return sum([await self.using.downloads.remove(repo) for repo in sorted(repos)])


def _existing(source: str) -> Path | None:
    path = Path(source).expanduser()
    return path.resolve() if path.exists() else None
