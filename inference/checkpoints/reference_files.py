"""Finds the files of an IP-Adapter and of the image encoder that it was trained with. Imports no torch."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bot.errors import ModelUnavailable
from bot.models import ControlSource, ModelSpec
from inference.checkpoints.file_filter import ENCODER_FOLDER
from inference.checkpoints.resolve import cached_repo_path
from inference.ipc.environment import ROOT


@dataclass(frozen=True)
class AdapterFiles:
    """`root`: the folder or repo in which its image encoder is looked for."""

    weights: Path
    root: Path


def find_adapter(model: ModelSpec, source: ControlSource) -> AdapterFiles:
    """The weights of an IP-Adapter: a file, the one named in a folder or repo, or the only one in it.

    Raises: ModelUnavailable.
    """
    path = (ROOT / Path(source.repo).expanduser()).resolve()
    if path.is_file():
        return AdapterFiles(_require_safetensors(model, path), path.parent)
    root = path if path.is_dir() else cached_repo_path(source.repo, source.revision, model.name)
    if source.file:
        return AdapterFiles(_require_safetensors(model, root / source.file), root)
    files = sorted(root.glob("*.safetensors"))
    if len(files) != 1:
        raise ModelUnavailable(model.name, f"{source.repo} must contain exactly one .safetensors file, or name one")
    return AdapterFiles(files[0], root)


def _require_safetensors(model: ModelSpec, path: Path) -> Path:
    if path.suffix != ".safetensors" or not path.is_file():
        raise ModelUnavailable(model.name, f"{path.name} is not a .safetensors file that exists")
    return path


def find_image_encoder(model: ModelSpec, files: AdapterFiles, size_name: str, size: int) -> Path:
    """The folder of the image encoder whose features have this size, the nearest to the adapter's weights first.

    `size_name`: "projection_dim" or "hidden_size". Raises: ModelUnavailable.
    """
    for folder in _encoder_folders(files):
        if _read_size(folder, size_name) == size:
            return folder
    raise ModelUnavailable(
        model.name, f"{files.weights.name} needs an image encoder with {size_name} {size} in a folder {ENCODER_FOLDER}"
    )


def _encoder_folders(files: AdapterFiles) -> Iterator[Path]:
    yield files.weights.parent / ENCODER_FOLDER
    yield files.root / ENCODER_FOLDER
    yield from sorted(files.root.glob(f"*/{ENCODER_FOLDER}"))


def _read_size(folder: Path, name: str) -> int | None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    size = config.get(name) if isinstance(config, dict) else None
    return size if isinstance(size, int) else None
