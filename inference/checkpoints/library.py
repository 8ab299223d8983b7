"""Identifies models on this machine's disk, and stores LoRAs and textual inversions in the data directory.

Implements `bot.ports.ModelFiles`. Imports no torch.
"""

import asyncio
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from bot.errors import ModelRefused, StorageFull
from bot.ports import CheckpointInfo, PromptAddon
from bot.settings import hub_repo_dir
from inference.checkpoints import identify

FOLDERS = {"lora": "loras", "inversion": "embeddings"}
_RESERVE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class ModelLibrary:
    data_dir: Path

    async def identify(self, path: Path) -> CheckpointInfo:
        return await asyncio.to_thread(identify.identify_path, path)

    def identify_class(self, class_name: str) -> CheckpointInfo:
        return identify.identify_class(class_name)

    async def store_addon(self, path: Path, kind: CheckpointInfo, name: str) -> PromptAddon:
        return await asyncio.to_thread(self._store_file, path, kind, name)

    def _store_file(self, path: Path, kind: CheckpointInfo, name: str) -> PromptAddon:
        folder = self.data_dir / FOLDERS[kind.kind]
        folder.mkdir(parents=True, exist_ok=True)
        size, free = path.stat().st_size, shutil.disk_usage(folder).free
        if free < size + _RESERVE_BYTES:
            raise StorageFull(free_mb=free // 2**20, need_mb=(size + _RESERVE_BYTES) // 2**20)
        target = folder / f"{name}.safetensors"
        if target.exists():
            raise ModelRefused(name, "taken")
        partial = target.with_suffix(".new")
        try:
            shutil.copyfile(path, partial)
            sidecar = json.dumps({"family": kind.family, "kind": kind.kind})
            target.with_suffix(".json").write_text(sidecar, encoding="utf-8")
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
        return PromptAddon(name=name, kind=kind.kind, family=kind.family, size=size, path=str(target))

    def list_addons(self) -> list[PromptAddon]:
        return [
            PromptAddon(
                name=path.stem, kind=kind, family=_stored_family(path), size=path.stat().st_size, path=str(path)
            )
            for kind, folder in FOLDERS.items()
            for path in sorted((self.data_dir / folder).glob("*.safetensors"))
        ]

    async def delete_addon(self, name: str) -> int:
        return await asyncio.to_thread(self._delete_files, name)

    def _delete_files(self, name: str) -> int:
        freed = 0
        for folder in FOLDERS.values():
            for path in (self.data_dir / folder).glob("*.safetensors"):
                if path.stem == name:
                    freed += path.stat().st_size
                    path.unlink()
                    path.with_suffix(".json").unlink(missing_ok=True)
        return freed

    def cached_path(self, repo: str, revision: str) -> Path | None:
        folder = hub_repo_dir(repo) / "snapshots" / revision
        return folder if folder.is_dir() else None


def _stored_family(path: Path) -> str:
    try:
        sidecar = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return str(sidecar["family"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
