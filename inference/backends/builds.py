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
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bot.errors import ModelUnavailable
from bot.models import ModelSpec
from bot.ports import BuildReport, BuildRequest, LoraSet, describe_loras
from bot.runtime.durable_files import fsync_path, write_atomically
from bot.runtime.private_files import make_private_folder
from bot.settings import find_data_dir
from inference.backends.build_manifest import MANIFEST, BuildManifest, read_json, read_manifest
from inference.checkpoints.resolve import lora_path, model_path

FOLDER = "builds"
HASHES, UNFINISHED = "weights.json", ".unfinished-"
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


@functools.cache
def graph_form() -> str:
    """Of the graphs that this Easel exports: a hash of the modules that export and call them. A graph of another form
    may have other inputs."""
    digest = hashlib.sha256()
    for name in ("*_inputs.py", "shared_weights.py"):
        for path in sorted(Path(__file__).parent.glob(name)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


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
        "form": graph_form(),
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
        self._known: dict[str, Any] = read_json(self._path)
        self._is_changed = False

    def hash_of(self, path: Path) -> str:
        """Raises: OSError."""
        real = path.resolve()
        if _SHA256.fullmatch(real.name):
            return real.name  # Hugging Face's cache names files by their hash
        known = self._known.get(str(real))
        if not isinstance(known, list) or len(known) != 3 or known[:2] != _stamp(real):
            known = [*_stamp(real), _digest(real)]
            self._known[str(real)], self._is_changed = known, True
        return str(known[2])

    def remember(self, path: Path, digest: str) -> None:
        """What is known of a file without reading it. Raises: OSError."""
        self._known[str(path.resolve())], self._is_changed = [*_stamp(path), digest], True

    def save(self) -> None:
        """Best effort: without it, the files are read again. What is known of deleted files is forgotten."""
        if self._is_changed and self._path.parent.is_dir():
            with contextlib.suppress(OSError):
                known = {path: value for path, value in self._known.items() if os.path.exists(path)}
                write_atomically(self._path, json.dumps(known))
            self._is_changed = False


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


# ---------------------------------------------------------------- builds on the disk


@dataclass(frozen=True)
class StoredBuild:
    """A build's folder, and its manifest; empty: it cannot be read."""

    path: Path
    manifest: BuildManifest

    @property
    def is_intact(self) -> bool:
        """Its files are those that were written. They are read only if their sizes or times have changed since."""
        files = self.manifest.files
        if not files or self.report is None or key_of(self.manifest.parts) != self.path.name:
            return False
        hashes = FileHashes(self.path.parent)
        try:
            return all(self._holds(name, size, digest, hashes) for name, (size, digest) in files.items())
        except (OSError, ValueError):  # ValueError: a name that no file can have
            return False
        finally:
            hashes.save()

    def _holds(self, name: str, size: int, digest: str, hashes: FileHashes) -> bool:
        """Raises: OSError, ValueError."""
        path = (self.path / name).resolve()
        is_inside = path.is_relative_to(self.path.resolve()) and path.is_file()
        return is_inside and path.stat().st_size == size and hashes.hash_of(path) == digest

    @property
    def names(self) -> tuple[str, ...]:
        """As `BuildRequest.names`."""
        parts = self.manifest.parts
        return tuple(parts.get(name, "") for name in ("model", "backend", "precision", "weight_format", "loras"))

    @property
    def loras(self) -> LoraSet:
        """Those that are fused into it."""
        return self.manifest.loras

    @property
    def size_bytes(self) -> int:
        """Of what is there, which may be changing."""
        size = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with contextlib.suppress(OSError):
                    size += os.lstat(os.path.join(folder, name)).st_size
        return size

    @property
    def report(self) -> BuildReport | None:
        return self.manifest.report


def list_builds(folder: Path) -> list[StoredBuild]:
    """All in the folder, complete or damaged."""
    with contextlib.suppress(OSError):
        paths = sorted(path for path in folder.iterdir() if _SHA256.fullmatch(path.name))
        return [StoredBuild(path, read_manifest(path)) for path in paths]
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
    build = StoredBuild(path, read_manifest(path))
    return build if build.is_intact else None


def builds_size_mb(folder: Path) -> int:
    """Of builds, and of what torch.compile keeps beside them. Files may be deleted meanwhile."""
    size = 0
    for path in folder.glob("*/**/*"):
        with contextlib.suppress(OSError):
            size += path.stat().st_size if path.is_file() else 0
    return -(-size // 2**20)


def remove_builds(builds: Iterable[StoredBuild]) -> int:
    """Returns the bytes freed. Raises: OSError: some could not be deleted."""
    freed, failure = 0, None
    for build in builds:
        size = build.size_bytes
        try:
            _delete(build.path)
            freed += size
        except OSError as error:
            failure = error
    if failure is not None:
        raise failure
    return freed


def remove_unfinished(folder: Path) -> int:
    """Delete what killed processes have left, and builds that nobody can tell the model of; returns the number.

    Best effort.
    """
    nameless = [build.path for build in list_builds(folder) if not build.names[0]]
    left = [path for pattern in (f"{UNFINISHED}*", f".{HASHES}.*") for path in folder.glob(pattern)]
    for path in (*left, *nameless):
        with contextlib.suppress(OSError):
            _delete(path)
    return len(left) + len(nameless)


def _delete(path: Path) -> None:
    """Raises: OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


# ---------------------------------------------------------------- writing


def start_build(folder: Path) -> Path:
    """An empty folder for a build that is not finished. Raises: OSError."""
    make_private_folder(folder)
    return Path(tempfile.mkdtemp(dir=folder, prefix=UNFINISHED))


def finish_build(unfinished: Path, request: BuildRequest, parts: Mapping[str, str], report: BuildReport) -> StoredBuild:
    """Write the manifest, flush everything to the disk and give the build its name. Its predecessors are deleted.

    Raises: OSError.
    """
    paths = [path for path in sorted(unfinished.rglob("*")) if path.is_file()]
    files = {path.relative_to(unfinished).as_posix(): (path.stat().st_size, _digest(path)) for path in paths}
    manifest = BuildManifest(dict(parts), request.loras, files, report)
    for path in paths:
        fsync_path(path)
    write_atomically(unfinished / MANIFEST, manifest.to_json())
    final = unfinished.parent / key_of(parts)
    if final.is_symlink() or final.exists():
        _delete(final)  # a damaged one
    unfinished.rename(final)
    fsync_path(final.parent)
    made = StoredBuild(final, manifest)
    _remember_files(made)
    with contextlib.suppress(OSError):
        remove_builds(one for one in list_builds(final.parent) if one.names == made.names and one.path != final)
    return made


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remember_files(build: StoredBuild) -> None:
    """So that its first user need not read them."""
    hashes = FileHashes(build.path.parent)
    with contextlib.suppress(OSError):
        for name, (_, digest) in build.manifest.files.items():
            hashes.remember(build.path / name, digest)
    hashes.save()
