"""What can be said of a configured model without loading it: its files, and what they are for."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.cli.models.install import size
from adapters.cli.output import note, program, tell, tell_json
from bot.models import ModelSpec
from bot.settings import hub_cache, hub_folder
from bot.usecases.model_views import spec_body

if TYPE_CHECKING:
    from adapters.cli.ports import Loaded

OTHER_WEIGHTS = {".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".h5", ".msgpack", ".onnx", ".gguf"}
"""Formats that are never loaded: several of them can run code."""
LIMIT = "not for commercial use"
DESCRIPTIONS = ("model_index.json", "config.json")
_LFS = b"version https://git-lfs"


def examine_model(spec: ModelSpec, root: Path) -> tuple[str, str]:
    """A mark and a sentence for `doctor`."""
    demo = ", a demo" if spec.demo else ""
    folder = find_folder(spec, root)
    if folder is None:
        where = root / spec.repo
        if looks_local(spec.repo, root):
            return "bad", f"{spec.name}: there is no folder {where}: put the model there, or change its repo."
        return "bad", f"{spec.name}: {spec.repo} is neither a folder nor in the Hugging Face cache {hub_cache()}."
    is_one = folder.is_file()
    files = [folder] if is_one else sorted(path for path in folder.rglob("*") if path.is_file())
    wrong = _with_path(folder, problem_of(folder)) if is_one else _wrong_with(files, folder)
    if wrong:
        return "bad", f"{spec.name}: {wrong}"
    size = sum(path.stat().st_size for path in files) / 2**20
    others = [path.name for path in files if path.suffix.lower() in OTHER_WEIGHTS]
    sentence = f"{spec.name}{demo}: {', '.join(spec.tasks)}; {folder} ({size:.1f} MiB)."
    if others:
        return "warn", f"{sentence} {', '.join(others[:3])} is never loaded, only safetensors are."
    return "ok", sentence


def _wrong_with(files: list[Path], folder: Path) -> str:
    """The first thing that would keep the model from loading; empty when there is none."""
    if not files:
        return f"the folder {folder} is empty."
    for path in (folder / name for name in DESCRIPTIONS if (folder / name).exists()):
        if not _is_json(path):
            return f"{path} is not readable JSON."
    if not any((folder / name).exists() for name in DESCRIPTIONS):
        return f"{folder} has neither {' nor '.join(DESCRIPTIONS)}, so it is no model folder."
    weights = [path for path in files if path.suffix == ".safetensors"]
    if not weights:
        others = sorted({path.suffix for path in files if path.suffix.lower() in OTHER_WEIGHTS})
        has = f"only {', '.join(others)}" if others else "no weights"
        return f"{folder} has {has}; only safetensors are loaded: convert the model, or take another."
    for path in weights:
        if wrong := _with_path(path, problem_of(path)):
            return wrong
    return ""


def _with_path(path: Path, problem: str) -> str:
    return f"{path} {problem}." if problem else ""


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


def problem_of(path: Path) -> str:
    """What is wrong with a safetensors file, by its header and length; empty when nothing is."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(len(_LFS))
            if start == _LFS:
                return "is only a pointer: fetch the file itself with `git lfs pull`"
            file.seek(0)
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length <= size - 8 else None
    except (OSError, ValueError, struct.error):
        return "is not a safetensors file"
    if not isinstance(header, dict):
        return "is cut short: copy it again"
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return "" if 8 + length + max(ends, default=0) == size else "is cut short: copy it again"


def find_folder(spec: ModelSpec, root: Path) -> Path | None:
    """Where the model's files are, or its one file: in the clone, in any folder, or in the Hugging Face cache."""
    local = root / Path(spec.repo).expanduser()
    if local.exists():
        return local
    snapshots = hub_folder(spec.repo) / "snapshots"
    found = sorted(snapshots.glob(spec.revision or "*")) if snapshots.is_dir() else []
    place = found[-1] / spec.file if found else None
    return place if place is not None and place.exists() else None


def disk_bytes(spec: ModelSpec, root: Path) -> int:
    """What the model takes on the disk; 0: it is not here."""
    place = find_folder(spec, root)
    if place is None:
        return 0
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


def looks_local(repo: str, root: Path) -> bool:
    """Meant as a folder, not as `org/name` of a hub."""
    return repo.startswith((".", "/", "~")) or repo.count("/") != 1 or (root / repo.split("/")[0]).is_dir()


# ---------------------------------------------------------------- models list


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    tasks: tuple[str, ...]
    default_for: tuple[str, ...]
    repo: str
    demo: bool
    licence: str
    mark: str
    sentence: str
    disk_bytes: int


def model_rows(loaded: "Loaded") -> list[Row]:
    rows = []
    for spec in loaded.models:
        mark, sentence = examine_model(spec, loaded.root)
        rows.append(
            Row(
                name=spec.name,
                tasks=spec.tasks,
                default_for=tuple(task for task in spec.tasks if loaded.models.default_for(task) is spec),
                repo=spec.repo,
                demo=spec.demo,
                licence=spec.licence,
                mark=mark,
                sentence=sentence,
                disk_bytes=disk_bytes(spec, loaded.root),
            )
        )
    return rows


def show_models(loaded: "Loaded", *, as_json: bool) -> int:
    """A model that would not load is told, but listing it is no failure."""
    rows, presets, additions = model_rows(loaded), loaded.models.presets, additions_of(loaded.data_dir)
    if as_json:
        kept = [{"name": path.stem, "kind": path.parent.name, "size": path.stat().st_size} for path in additions]
        tell_json(
            {
                "models": [_body(row) for row in rows],
                "presets": [{**spec_body(one), "disk_bytes": disk_bytes(one, loaded.root)} for one in presets],
                "additions": kept,
            }
        )
        return 0
    for row in rows:
        words = [f"{task} (default)" if task in row.default_for else task for task in row.tasks]
        room = f"  {size(row.disk_bytes)} on the disk" if row.disk_bytes else ""
        tell(f"{row.name}  {', '.join(words)}  {row.repo}{room}{'  demo' if row.demo else ''}")
        if row.mark == "bad":
            tell(f"  {row.sentence}")
    for path in additions:
        tell(f"{path.stem}  {path.parent.name}  {path.stat().st_size / 2**20:.1f} MiB")
    if presets:
        note(f"To choose from, with `{program()} models use NAME`:")
    for spec in presets:
        here, whole = disk_bytes(spec, loaded.root), spec.download_mb * 2**20
        room = f"  {size(here)} on the disk" if here else f"  {size(whole)}" if whole else ""
        licences = "; ".join(spec.licences) or spec.licence
        limits = "" if spec.commercial or LIMIT in licences else f"  {LIMIT}"
        tell(f"{spec.name}  {', '.join(spec.tasks)}{room}  {licences}{limits}")
    return 0


def additions_of(data_dir: Path) -> list[Path]:
    """LoRAs and textual inversions that are kept."""
    return [path for folder in ("loras", "embeddings") for path in sorted((data_dir / folder).glob("*.safetensors"))]


def _body(row: Row) -> Mapping[str, Any]:
    return {**vars(row), "is_usable": row.mark != "bad"}
