"""The folders of adapters that were trained here, in the data directory: one for each, by name, in the Hub's layout."""

import re
import shutil
from pathlib import Path

from bot.model_install.addon_files import PEFT_WEIGHTS

FOLDER = "adapters"
NO_ADAPTER = "none"
"""As the option `adapter`: the model as it was installed."""
_NAME = re.compile(r"[a-z0-9-]{1,64}")


def is_adapter_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def adapter_weights(data_dir: Path, name: str) -> Path:
    """Where its weights are, if they are there. Raises: ValueError: no adapter can have this name."""
    return _folder(data_dir, name) / PEFT_WEIGHTS


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
