"""Locations of settings, data and model caches."""

import os
from collections.abc import Mapping
from pathlib import Path

from bot.errors import ConfigError

FILE_NAME = "config.toml"
DATA_DIR = "EASEL_DATA_DIR"


def find_data_dir(environ: Mapping[str, str]) -> Path:
    """`EASEL_DATA_DIR`, or the platform's default data directory."""
    if chosen := environ.get(DATA_DIR):
        return Path(chosen).expanduser().absolute()
    import platformdirs  # imported only if needed, which makes `--help` faster

    return Path(platformdirs.user_data_dir("easel", appauthor=False))


def make_data_dir(environ: Mapping[str, str]) -> Path:
    """The data directory; created, accessible only by its owner, if it is missing. Raises: ConfigError."""
    path = find_data_dir(environ)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError([f"The data directory {path} is not a folder: choose another with {DATA_DIR}."]) from error
    except OSError as error:
        why = error.strerror or "it failed"
        raise ConfigError(
            [f"The data directory {path} cannot be created ({why}): choose another with {DATA_DIR}."]
        ) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError([f"The data directory {path} is not writable: give this user access, or set {DATA_DIR}."])
    return path


def settings_files(root: Path, data_dir: Path, config: Path | None) -> list[Path]:
    """The files to read, lowest priority first: the defaults, the owner's file if it exists, and `config`."""
    overlay = data_dir / FILE_NAME
    return [root / FILE_NAME, *([overlay] if overlay.exists() else []), *([config] if config else [])]


def hub_cache_dir() -> Path:
    """Hugging Face's cache, as set by its own variables."""
    if cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def hub_repo_dir(repo: str) -> Path:
    """The folder of `org/name` in that cache: `blobs`, `refs`, and one folder per commit in `snapshots`."""
    return hub_cache_dir() / f"models--{repo.replace('/', '--')}"


def nearest_existing_dir(path: Path, otherwise: Path = Path("/")) -> Path:
    """The path itself, or the nearest parent folder that exists."""
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), otherwise)
