"""What a build's folder says about itself. Nothing here raises: what is damaged reads as empty."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bot.ports import BuildReport, LoraSet, RowSpeed

MANIFEST = "manifest.json"
MAX_JSON_BYTES = 2**24
_MIN_SECONDS, _MAX_SECONDS, _MAX_COUNT = 1e-9, 1e6, 2**40
_COUNTS = ("torch_mb", "backend_mb", "disk_mb", "levels", "prompts", "steps")
_WORDS: Mapping[str, str] = {"backend": "", "precision": "", "weights": "", "dtype": "auto", "quantize": ""}
"""Of a report, with what is assumed where it is missing."""


@dataclass(frozen=True)
class BuildManifest:
    """`parts`: of the build's key; `files`: size and SHA-256 of each, by its path in the folder.

    `report`: None if anything but the parts is damaged.
    """

    parts: Mapping[str, str] = field(default_factory=dict)
    loras: LoraSet = ()
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    report: BuildReport | None = None

    def to_json(self) -> str:
        assert self.report is not None
        report = asdict(self.report) | {"speeds": [list(vars(speed).values()) for speed in self.report.speeds]}
        return json.dumps({**vars(self), "report": report}, indent=1)


def read_manifest(folder: Path) -> BuildManifest:
    found = read_json(folder / MANIFEST)
    parts = found.get("parts")
    if not isinstance(parts, dict) or not all(isinstance(value, str) for value in parts.values()):
        return BuildManifest()
    try:
        loras = tuple((_word(path), _bounded(weight, -1e6, 1e6)) for path, weight in found["loras"])
        files = {
            name: (int(_bounded(size, 0, _MAX_COUNT)), _word(digest)) for name, (size, digest) in found["files"].items()
        }
        return BuildManifest(parts, loras, files, _read_report(found["report"]))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return BuildManifest(parts)


def read_json(path: Path) -> dict[str, Any]:
    """Of a file of moderate size."""
    with contextlib.suppress(OSError, RecursionError, ValueError):
        if path.is_file() and path.stat().st_size <= MAX_JSON_BYTES:
            found = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(found, dict):
                return found
    return {}


def _read_report(found: Mapping[str, Any]) -> BuildReport:
    """Raises: AttributeError, KeyError, OverflowError, TypeError, ValueError: it is none."""
    counts = {name: int(_bounded(found[name], 0, _MAX_COUNT)) for name in _COUNTS}
    words = {name: _word(found.get(name, default)) for name, default in _WORDS.items()}
    speeds = tuple(
        RowSpeed(int(_bounded(rows, 1, _MAX_COUNT)), *(_bounded(one, _MIN_SECONDS, _MAX_SECONDS) for one in seconds))
        for rows, *seconds in found["speeds"]
    )
    return BuildReport(speeds=speeds, **counts, **words)  # type: ignore[arg-type]


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no word")
    return value


def _bounded(value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError("no number in its range")
    return value
