"""Identifies models on this machine's disk, and stores LoRAs and textual inversions in the data directory.

Implements `bot.ports.ModelFiles`. Imports no torch.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from bot.errors import ModelRefused, ModelUnavailable
from bot.model_install import addon_files
from bot.models import ModelSpec
from bot.ports import CheckpointInfo, PromptAddon
from bot.settings import hub_repo_dir
from inference.checkpoints import identify
from inference.checkpoints.convert import convert_pickle
from inference.checkpoints.prequantized import read_prequantized
from inference.checkpoints.resolve import model_path


@dataclass(frozen=True)
class ModelLibrary:
    data_dir: Path

    async def identify(self, path: Path) -> CheckpointInfo:
        return await asyncio.to_thread(identify.identify_path, path)

    def identify_class(self, class_name: str) -> CheckpointInfo:
        return identify.identify_class(class_name)

    async def convert_weights(self, path: Path) -> Path:
        return await asyncio.to_thread(self._convert_weights, path)

    def _convert_weights(self, path: Path) -> Path:
        target = self.download_dir() / f"{path.stem}.safetensors"
        if target.exists():
            raise ModelRefused(path.stem, "taken")
        convert_pickle(path, target)
        try:
            if identify.identify_path(target).kind == "upscaler":
                return target
            raise ModelRefused(path.name, "not_upscaler")
        except ModelRefused:
            target.unlink()
            raise

    async def store_addon(self, path: Path, addon: PromptAddon, *, in_place: bool = False) -> PromptAddon:
        return await asyncio.to_thread(addon_files.store_addon, self.data_dir, path, addon, in_place=in_place)

    def list_addons(self) -> list[PromptAddon]:
        return addon_files.list_addons(self.data_dir)

    async def has_addon(self, name: str) -> bool:
        return await asyncio.to_thread(addon_files.has_addon, self.data_dir, name)

    async def delete_addon(self, name: str) -> int | None:
        return await asyncio.to_thread(addon_files.delete_addon, self.data_dir, name)

    def download_dir(self) -> Path:
        return self.data_dir / "checkpoints"

    async def delete_download(self, path: Path) -> int:
        return await asyncio.to_thread(self._delete_download, path)

    def _delete_download(self, path: Path) -> int:
        if path.parent != self.download_dir() or not path.is_file():
            return 0
        size = path.stat().st_size
        path.unlink()
        return size

    def read_prequantized(self, model: ModelSpec) -> tuple[str, str]:
        try:
            found = read_prequantized(model_path(model))
        except (ModelUnavailable, OSError):
            return "", ""
        return found.method, found.precision

    def cached_path(self, repo: str, revision: str) -> Path | None:
        folder = hub_repo_dir(repo) / "snapshots" / revision
        return folder if folder.is_dir() else None
