"""The folders of adapters that were trained here, in the data directory: one for each, by name, in the Hub's layout."""

import hashlib
import re
import shutil
from functools import lru_cache
from pathlib import Path

from bot.model_install.addon_files import PEFT_WEIGHTS

FOLDER = "adapters"
_NAME = re.compile(r"[a-z0-9-]{1,64}")


def is_adapter_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def adapter_weights(data_dir: Path, name: str) -> Path:
    """Where its weights are, if they are there. Raises: ValueError: no adapter can have this name."""
    return _folder(data_dir, name) / PEFT_WEIGHTS


def adapter_sha256(data_dir: Path, name: str) -> str:
    """Of its weights; empty: they cannot be read. Read again only if the file has changed. Blocking."""
    path = adapter_weights(data_dir, name)
    try:
        facts = path.stat()
        return _read_sha256(path, facts.st_mtime_ns, facts.st_size)
    except OSError:
        return ""


@lru_cache(maxsize=256)
def _read_sha256(path: Path, _modified_ns: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def delete_adapter_files(data_dir: Path, name: str) -> int:
    """The bytes freed. Raises: OSError; ValueError: no adapter can have this name."""
    folder = _folder(data_dir, name)
    if folder.is_symlink() or not folder.is_dir():
        return 0
    freed = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    shutil.rmtree(folder)
    return freed


def _folder(data_dir: Path, name: str) -> Path:
    if not is_adapter_name(name):
        raise ValueError(f"{name!r} is no name of an adapter")
    return data_dir / FOLDER / name
