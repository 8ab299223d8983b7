"""Finds a model's files and their revision, and checks that they can be loaded. Imports no torch.

Only safetensors are ever loaded, never pickles and never code that comes with a model.
"""

import re
from dataclasses import replace
from pathlib import Path

from bot.errors import ModelUnavailable
from bot.models import GGUF_SUFFIX, ControlSource, ModelSpec, split_repo_file
from bot.settings import hub_cache_dir
from inference.checkpoints.file_filter import LORA_FILE
from inference.ipc.environment import ROOT

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SAMPLE_BYTES = 2**20


def model_path(model: ModelSpec) -> Path:
    """The model's folder or single file, in the clone or in Hugging Face's cache. Nothing is downloaded.

    Raises: ModelUnavailable.
    """
    place = ROOT / Path(model.repo).expanduser()
    folder = place.resolve()
    if folder.is_dir():
        return folder
    for file in (folder, place):  # a link into a hub's cache, whose blobs have no ending, keeps its own
        if file.suffix in (".safetensors", GGUF_SUFFIX) and file.is_file():
            return file
    if model.is_local or model.repo.startswith("models/"):
        raise ModelUnavailable(model.name, f"{folder} does not exist")
    return cached_repo_path(model.repo, model.revision, model.name) / model.file


def base_model_path(model: ModelSpec) -> Path:
    """Of a `.gguf` file: the folder with its other components. Raises: ModelUnavailable."""
    if not model.base_model:
        raise ModelUnavailable(
            model.name, "its table lacks base_model: the repo or folder with the text encoder and the VAE"
        )
    folder = model_path(replace(model, repo=model.base_model, revision="", file=""))
    if not folder.is_dir():
        raise ModelUnavailable(model.name, f"base_model must be a repo or a folder, {folder.name} is a file")
    return folder


def components_path(model: ModelSpec) -> Path:
    """The folder or file with the components that are not in a `.gguf` file. Raises: ModelUnavailable."""
    return base_model_path(model) if model.is_gguf else model_path(model)


def cached_repo_path(repo: str, revision: str = "", model: str = "") -> Path:
    """A repo's folder in Hugging Face's cache. Raises: ModelUnavailable."""
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(repo, revision=revision or None, cache_dir=hub_cache_dir(), local_files_only=True)
        )
    except Exception as error:  # the library has many errors for "not in the cache"
        detail = f"{repo} is not in the cache ({type(error).__name__}): run `easel models use {model or 'NAME'}`"
        raise ModelUnavailable(model or repo, detail) from error


def lora_path(source: str, model: str) -> Path:
    """A LoRA's file, given as a file, a folder or a repo in the cache. Raises: ModelUnavailable."""
    path = (ROOT / Path(source).expanduser()).resolve()
    if path.is_file():
        return path
    repo, file = split_repo_file(source)
    folder = path if path.is_dir() else cached_repo_path(repo, "", model)
    if file:
        return _require_file(folder / file, source, model)
    files = sorted(folder.glob("*.safetensors"))
    named = [file for file in files if file.name == LORA_FILE]
    if len(named or files) != 1:
        raise ModelUnavailable(model, f"{source} must contain exactly one .safetensors file")
    return (named or files)[0]


def _require_file(path: Path, source: str, model: str) -> Path:
    """Raises: ModelUnavailable."""
    if not path.is_file():
        raise ModelUnavailable(model, f"{source} is not in the cache: run `easel models use {model or 'NAME'}`")
    return path


def control_path(source: ControlSource, model: str) -> Path:
    """The folder or file of a control's weights, in the clone or in Hugging Face's cache. Raises: ModelUnavailable."""
    path = (ROOT / Path(source.repo).expanduser()).resolve()
    if not path.is_dir() and not path.is_file():
        path = cached_repo_path(source.repo, source.revision, model)
    return path / source.file if source.file else path


def require_safetensors(model: ModelSpec, folder: Path) -> None:
    """Raises: ModelUnavailable, when there are no safetensors."""
    if folder.suffix == GGUF_SUFFIX and folder.is_file():
        folder = base_model_path(model)
    if not any(folder.rglob("*.safetensors")):
        others = sorted({path.suffix for path in folder.rglob("*") if path.suffix in (".bin", ".pt", ".ckpt", ".pth")})
        refused = f", only {', '.join(others)}, which are refused" if others else ""
        raise ModelUnavailable(model.name, f"{folder} contains no safetensors{refused}")


def is_installed(model: ModelSpec) -> bool:
    """Whether its files are here, as safetensors."""
    if not model.repo:
        return False
    try:
        require_safetensors(model, model_path(model))
    except ModelUnavailable:
        return False
    return True


def model_revision(model: ModelSpec, folder: Path) -> str:
    """The commit of a model from the hub; for a local model, a hash of its configs and samples of its weights."""
    if _COMMIT.fullmatch(folder.name):
        return folder.name
    if model.revision:
        return model.revision
    import hashlib

    digest = hashlib.sha256()
    if folder.is_file():
        digest.update(f"{folder.stat().st_size}\n".encode() + _read_sample(folder))
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".txt", ".model", ".safetensors") and path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
            digest.update(_read_sample(path))
    return digest.hexdigest()[:40]


def _read_sample(path: Path) -> bytes:
    """A small file in full; the start and end of a large one, with its header and last weights."""
    with path.open("rb") as file:
        start = file.read(_SAMPLE_BYTES)
        file.seek(max(len(start), path.stat().st_size - _SAMPLE_BYTES))
        return start + file.read(_SAMPLE_BYTES)
