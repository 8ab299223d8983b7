"""Models on this machine's disk: what they are, and the LoRAs and inversions that are kept beside the database.

Implements `bot.ports.ModelFiles`. Imports no torch.
"""

import asyncio
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from bot.errors import ModelRefused, StorageFull
from bot.ports import Addition, Kind
from bot.settings import hub_folder
from inference.checkpoints import identify

FOLDERS = {"lora": "loras", "inversion": "embeddings"}
_RESERVE = 256 * 2**20


@dataclass(frozen=True)
class ModelFiles:
    data_dir: Path

    async def recognise(self, path: Path) -> Kind:
        return await asyncio.to_thread(identify.recognise, path)

    def of_class(self, class_name: str) -> Kind:
        return identify.of_class(class_name)

    async def keep(self, path: Path, kind: Kind, name: str) -> Addition:
        return await asyncio.to_thread(self._keep, path, kind, name)

    def _keep(self, path: Path, kind: Kind, name: str) -> Addition:
        folder = self.data_dir / FOLDERS[kind.kind]
        folder.mkdir(parents=True, exist_ok=True)
        size, free = path.stat().st_size, shutil.disk_usage(folder).free
        if free < size + _RESERVE:
            raise StorageFull(free_mb=free // 2**20, need_mb=(size + _RESERVE) // 2**20)
        kept = folder / f"{name}.safetensors"
        if kept.exists():
            raise ModelRefused(name, "taken")
        fresh = kept.with_suffix(".new")
        try:
            shutil.copyfile(path, fresh)
            about = json.dumps({"family": kind.family, "kind": kind.kind})
            kept.with_suffix(".json").write_text(about, encoding="utf-8")
            os.replace(fresh, kept)
        finally:
            fresh.unlink(missing_ok=True)
        return Addition(name=name, kind=kind.kind, family=kind.family, size=size, path=str(kept))

    def additions(self) -> list[Addition]:
        return [
            Addition(name=path.stem, kind=kind, family=_family(path), size=path.stat().st_size, path=str(path))
            for kind, folder in FOLDERS.items()
            for path in sorted((self.data_dir / folder).glob("*.safetensors"))
        ]

    async def drop(self, name: str) -> int:
        return await asyncio.to_thread(self._drop, name)

    def _drop(self, name: str) -> int:
        freed = 0
        for folder in FOLDERS.values():
            for path in (self.data_dir / folder).glob("*.safetensors"):
                if path.stem == name:
                    freed += path.stat().st_size
                    path.unlink()
                    path.with_suffix(".json").unlink(missing_ok=True)
        return freed

    def cached(self, repo: str, revision: str) -> Path | None:
        folder = hub_folder(repo) / "snapshots" / revision
        return folder if folder.is_dir() else None


def _family(path: Path) -> str:
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return str(about["family"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
