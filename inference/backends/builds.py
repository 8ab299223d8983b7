"""The store of compiled builds in the data directory. Imports no torch, OpenVINO or ONNX Runtime.

A build is a folder that is named by its key: the hash of everything that makes it valid. It is written beside its final
place, flushed to the disk and renamed, so a folder with a key is complete. A build whose key nobody asks for any more,
because the library, the processor or the weights have changed, is not used.
"""

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bot.errors import ModelUnavailable
from bot.models import ModelSpec
from bot.ports import BuildReport, BuildRequest, LoraSet, RowSpeed, describe_loras
from bot.runtime.durable_files import fsync_path, write_atomically
from bot.runtime.private_files import make_private_folder
from bot.settings import find_data_dir
from inference.checkpoints.resolve import lora_path, model_path

FOLDER = "builds"
MANIFEST, HASHES, UNFINISHED = "manifest.json", "weights.json", ".unfinished-"
DISTRIBUTIONS: Mapping[str, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnx": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"),
}
"""The packages that contain each backend's library."""
_DENOISERS = ("unet", "transformer", "transformer_2")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def builds_dir() -> Path:
    """Of this process: in the data directory, where builds are kept for this machine."""
    return find_data_dir(os.environ) / FOLDER


def library_version(backend: str) -> str:
    """Of the backend's library, which is not imported; empty: it is not installed."""
    for name in DISTRIBUTIONS.get(backend, ()):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return ""


@functools.cache
def processor_name() -> str:
    """The processor's model and abilities, on which compiled code depends."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        found = dict(line.partition(":")[::2] for line in reversed(lines) if ":" in line)
        fields = {name.strip(): value.strip() for name, value in found.items()}
        flags = hashlib.sha256(fields.get("flags", fields.get("Features", "")).encode()).hexdigest()[:12]
        return f"{platform.machine()} {fields.get('model name', '')} {flags}"
    return f"{platform.machine()} {platform.processor()}"


# ---------------------------------------------------------------- keys


def key_parts(request: BuildRequest, folder: Path) -> dict[str, str]:
    """Everything that makes a build valid, and whose it is. `folder`: of all builds. Raises: ModelUnavailable."""
    return {
        "model": request.model.name,
        "weights": weights_hash(request.model, folder, request.loras),
        "backend": request.backend,
        "precision": request.precision,
        "weight_format": request.weights,
        "library": library_version(request.backend),
        "processor": processor_name(),
        **({"loras": describe_loras(request.loras)} if request.loras else {}),
    }


def key_of(parts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()


def weights_hash(model: ModelSpec, folder: Path, loras: LoraSet = ()) -> str:
    """SHA-256 over the files of the denoiser and of the LoRAs that are fused into it. Raises: ModelUnavailable."""
    hashes = FileHashes(folder)
    digest = hashlib.sha256()
    try:
        for path in (*_weight_files(model), *(Path(path) for path, _ in loras)):
            digest.update(f"{path.name} {hashes.hash_of(path)}\n".encode())
    except OSError as error:
        raise ModelUnavailable(model.name, f"its weights cannot be read: {error}") from error
    hashes.save()
    return digest.hexdigest()


def _weight_files(model: ModelSpec) -> list[Path]:
    place = model_path(model)
    if place.is_file():
        own = [place]
    else:
        own = [path for name in _DENOISERS for path in sorted((place / name).glob("*")) if path.suffix in _WEIGHTS]
    return own + [lora_path(source, model.name) for source in model.loras]


_WEIGHTS = {".safetensors", ".json", ".gguf"}


class FileHashes:
    """SHA-256 of large files, remembered while their size and time stay the same."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / HASHES
        self._known: dict[str, list[Any]] = _read_json(self._path)
        self._is_changed = False

    def hash_of(self, path: Path) -> str:
        """Raises: OSError."""
        real = path.resolve()
        if _SHA256.fullmatch(real.name):
            return real.name  # Hugging Face's cache names files by their hash
        found = real.stat()
        stamp = [found.st_size, found.st_mtime_ns]
        known = self._known.get(str(real))
        if not isinstance(known, list) or known[:2] != stamp:
            with real.open("rb") as file:
                known = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
            self._known[str(real)], self._is_changed = known, True
        return str(known[2])

    def save(self) -> None:
        """Best effort: without it, the files are read again."""
        if self._is_changed and self._path.parent.is_dir():
            with contextlib.suppress(OSError):
                write_atomically(self._path, json.dumps(self._known))


# ---------------------------------------------------------------- builds on the disk


@dataclass(frozen=True)
class StoredBuild:
    """A build's folder, and its manifest; empty: it cannot be read."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def is_intact(self) -> bool:
        files = self.manifest.get("files")
        if not isinstance(files, dict) or not files:
            return False
        with contextlib.suppress(OSError):
            return all((self.path / name).stat().st_size == size for name, size in files.items())
        return False

    @property
    def names(self) -> tuple[str, ...]:
        """As `BuildRequest.names`."""
        parts = self.manifest.get("parts", {})
        return tuple(str(parts.get(name, "")) for name in ("model", "backend", "precision", "weight_format", "loras"))

    @property
    def loras(self) -> LoraSet:
        """Those that are fused into it."""
        return tuple((str(path), float(weight)) for path, weight in self.manifest.get("loras", ()))

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())

    @property
    def report(self) -> BuildReport | None:
        try:
            fields = dict(self.manifest["report"])
            return BuildReport(**fields | {"speeds": tuple(RowSpeed(*speed) for speed in fields["speeds"])})
        except (KeyError, TypeError, ValueError):
            return None


def list_builds(folder: Path) -> list[StoredBuild]:
    """All in the folder, complete or damaged."""
    with contextlib.suppress(OSError):
        paths = sorted(path for path in folder.iterdir() if path.is_dir() and _SHA256.fullmatch(path.name))
        return [StoredBuild(path, _read_json(path / MANIFEST)) for path in paths]
    return []


def find_build(model: ModelSpec, precision: str, loras: LoraSet = ()) -> Path | None:
    """The folder of the model's build for its backend and this precision, with these LoRAs; None: there is none."""
    weights = "8bit" if model.quantize == "8bit" else "none"
    request = BuildRequest(model=model, backend=model.backend, precision=precision, weights=weights, loras=loras)
    found = find_stored(request, builds_dir())
    return found.path if found is not None else None


def find_stored(request: BuildRequest, folder: Path) -> StoredBuild | None:
    """The intact build that fits the model, the library and the processor as they are now."""
    if not library_version(request.backend) or not any(one.names == request.names for one in list_builds(folder)):
        return None  # before large files are read
    try:
        path = folder / key_of(key_parts(request, folder))
    except ModelUnavailable:
        return None
    build = StoredBuild(path, _read_json(path / MANIFEST))
    return build if build.is_intact else None


def builds_size_mb(folder: Path) -> int:
    return -(-sum(build.size_bytes for build in list_builds(folder)) // 2**20)


def remove_builds(builds: Iterable[StoredBuild]) -> int:
    """Returns the bytes freed. Raises: OSError."""
    freed = 0
    for build in builds:
        size = build.size_bytes
        shutil.rmtree(build.path)
        freed += size
    return freed


def remove_unfinished(folder: Path) -> int:
    """Delete what builds that were killed have left; returns the number. Best effort."""
    left = list(folder.glob(f"{UNFINISHED}*")) if folder.is_dir() else []
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return len(left)


# ---------------------------------------------------------------- writing


def start_build(folder: Path) -> Path:
    """An empty folder for a build that is not finished. Raises: OSError."""
    make_private_folder(folder)
    return Path(tempfile.mkdtemp(dir=folder, prefix=UNFINISHED))


def finish_build(unfinished: Path, request: BuildRequest, parts: Mapping[str, str], report: BuildReport) -> StoredBuild:
    """Write the manifest, flush everything to the disk and give the build its name. Its predecessors are deleted.

    Raises: OSError.
    """
    files = [path for path in sorted(unfinished.rglob("*")) if path.is_file()]
    manifest = {
        "key": key_of(parts),
        "parts": dict(parts),
        "loras": [list(lora) for lora in request.loras],
        "files": {path.relative_to(unfinished).as_posix(): path.stat().st_size for path in files},
        "report": asdict(report) | {"speeds": [list(vars(speed).values()) for speed in report.speeds]},
    }
    for path in files:
        fsync_path(path)
    write_atomically(unfinished / MANIFEST, json.dumps(manifest, indent=1))
    final = unfinished.parent / str(manifest["key"])
    if final.exists():
        shutil.rmtree(final)  # a damaged one
    unfinished.rename(final)
    fsync_path(final.parent)
    made = StoredBuild(final, manifest)
    remove_builds(one for one in list_builds(final.parent) if one.names == made.names and one.path != final)
    return made


def _read_json(path: Path) -> dict[str, Any]:
    """Empty: it is not there, or damaged."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}
