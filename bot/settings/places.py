"""Where settings and data lie."""

import os
from collections.abc import Mapping
from pathlib import Path

from bot.errors import ConfigError

FILE_NAME = "config.toml"
DATA_DIR = "EASEL_DATA_DIR"


def find_data_dir(environ: Mapping[str, str]) -> Path:
    """`EASEL_DATA_DIR`, or the platform's own directory for data."""
    if chosen := environ.get(DATA_DIR):
        return Path(chosen).expanduser().absolute()
    import platformdirs  # only where nothing was chosen: `--help` is quicker without

    return Path(platformdirs.user_data_dir("easel", appauthor=False))


def make_data_dir(environ: Mapping[str, str]) -> Path:
    """The data directory, made (for its owner alone) when it is missing. Raises: ConfigError."""
    path = find_data_dir(environ)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError([f"The data directory {path} is no folder: choose another with {DATA_DIR}."]) from error
    except OSError as error:
        why = error.strerror or "it failed"
        raise ConfigError(
            [f"The data directory {path} cannot be made ({why}): choose another with {DATA_DIR}."]
        ) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError([f"The data directory {path} cannot be written: give it to this user, or set {DATA_DIR}."])
    return path


def settings_files(root: Path, data_dir: Path, config: Path | None) -> list[Path]:
    """The files to read, weakest first: the defaults, the owner's overlay if there is one, and the one named."""
    overlay = data_dir / FILE_NAME
    return [root / FILE_NAME, *([overlay] if overlay.exists() else []), *([config] if config else [])]


def hub_cache() -> Path:
    """Where Hugging Face's own variables say that its cache is."""
    if cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def hub_folder(repo: str) -> Path:
    """Where that cache keeps `org/name`: `blobs`, `refs`, and a folder of each commit in `snapshots`."""
    return hub_cache() / f"models--{repo.replace('/', '--')}"


def nearest_folder(path: Path, otherwise: Path = Path("/")) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), otherwise)
