"""Where a model's files are, whether they may be loaded, and which version they are. Imports no torch.

Only safetensors are ever loaded, never pickles and never code that came with a model.
"""

import hashlib
import re
from pathlib import Path

from bot.errors import ModelUnavailable
from bot.models import ModelSpec
from bot.settings import hub_cache
from inference.ipc.process import ROOT

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SAMPLE = 2**20


def folder_of(model: ModelSpec) -> Path:
    """The model's folder, or its one file: in the clone, or in Hugging Face's cache. Nothing is downloaded.

    Raises: ModelUnavailable.
    """
    folder = (ROOT / Path(model.repo).expanduser()).resolve()
    if folder.is_dir() or (folder.suffix == ".safetensors" and folder.is_file()):
        return folder
    if model.is_local or model.repo.startswith("models/"):
        raise ModelUnavailable(model.name, f"there is no {folder}")
    return cached(model.repo, model.revision, model.name) / model.file


def cached(repo: str, revision: str = "", model: str = "") -> Path:
    """A repo's folder in Hugging Face's cache. Raises: ModelUnavailable."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision or None, cache_dir=hub_cache(), local_files_only=True))
    except Exception as error:  # the hub's errors for "not in the cache" are many
        detail = f"{repo} is not in the cache ({type(error).__name__}): run `easel models use {model or 'NAME'}`"
        raise ModelUnavailable(model or repo, detail) from error


def file_of(source: str, model: str) -> Path:
    """A LoRA's file: itself, the one in a folder, or the one that a repo of the cache has. Raises: ModelUnavailable."""
    path = (ROOT / Path(source).expanduser()).resolve()
    if path.is_file():
        return path
    folder = path if path.is_dir() else cached(source, "", model)
    found = sorted(folder.glob("*.safetensors"))
    named = [one for one in found if one.name == "pytorch_lora_weights.safetensors"]
    if len(named or found) != 1:
        raise ModelUnavailable(model, f"{source} does not hold one .safetensors file")
    return (named or found)[0]


def require_safetensors(model: ModelSpec, folder: Path) -> None:
    """Raises: ModelUnavailable, when there are no safetensors."""
    if not any(folder.rglob("*.safetensors")):
        others = sorted({path.suffix for path in folder.rglob("*") if path.suffix in (".bin", ".pt", ".ckpt", ".pth")})
        detail = f"{folder} holds no safetensors" + (f", only {', '.join(others)}, which are refused" if others else "")
        raise ModelUnavailable(model.name, detail)


def revision_of(model: ModelSpec, folder: Path) -> str:
    """The commit of a model from the hub; of a local one, a hash of its configs and samples of its weights."""
    if _COMMIT.fullmatch(folder.name):
        return folder.name
    if model.revision:
        return model.revision
    digest = hashlib.sha256()
    if folder.is_file():
        digest.update(f"{folder.stat().st_size}\n".encode() + _sample(folder))
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".txt", ".model", ".safetensors") and path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
            digest.update(_sample(path))
    return digest.hexdigest()[:40]


def _sample(path: Path) -> bytes:
    """The whole of a small file; the ends of a large one, where its header and last weights are."""
    with path.open("rb") as file:
        start = file.read(_SAMPLE)
        file.seek(max(len(start), path.stat().st_size - _SAMPLE))
        return start + file.read(_SAMPLE)
