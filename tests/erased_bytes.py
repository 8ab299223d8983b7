"""Finds what should be erased in the files of a data directory."""

import re
from pathlib import Path


def files_with(data_dir: Path, pattern: bytes | re.Pattern[bytes]) -> list[str]:
    """The names of the files that contain the pattern, in their names or in any byte."""
    return [path.name for path in data_dir.rglob("*") if re.search(pattern, path.name.encode() + read_file(path))]


def read_file(path: Path) -> bytes:
    """Nothing of what is no file, or was deleted just now."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return b""
