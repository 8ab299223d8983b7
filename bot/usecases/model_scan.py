"""Adopts the models of another program's folder where they are: ComfyUI's, AUTOMATIC1111's, SD.Next's, Forge's.

Nothing is copied, moved or changed. Every file of weights is named in the answer, with what it became or why not.
"""

import asyncio
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bot import error_texts
from bot.errors import ModelRefused, UserError
from bot.model_install.addon_files import default_name
from bot.models import GGUF_SUFFIX
from bot.usecases.model_catalogue import UPSCALER_PICKLES, ModelCatalogue, as_utf8

MAX_FILES, MAX_FOLDERS = 5000, 20_000
ADOPTED, PRESENT, SKIPPED = "adopted", "present", "skipped"
_INDEX = "model_index.json"
_WEIGHTS = frozenset((".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx"))
_SAFETENSORS = ".safetensors"
_MIN_OTHER_BYTES = 2**20
"""Smaller files in other formats than safetensors are rarely models; textual inversions are in `embeddings`."""
_CLOSED_FOLDER = "This folder cannot be read."
_CACHE_FOLDER = re.compile(r"models--[\w.-]+?--([\w.-]+)")
_ROLES: tuple[tuple[str, str], ...] = (
    (r"vae(?:[-_ ]?approx)?", "a VAE; Easel uses the one in each model"),
    (r"controlnet|t2i[-_]?adapter\w*|control-?lora", "a ControlNet, which is not adopted from folders"),
    (r"upscale_models|esrgan|realesrgan|swinir|ldsr|dat|scunet|gfpgan|codeformer|facerestore_models|hat",
     "an upscaler of a kind that Easel does not know, or a face restorer"),
    (r"clip|text_encoders?|clip_vision|t5|text-encoder", "a text encoder; Easel uses the one in each model"),
    (r"unet|diffusion_models", "a denoiser without its text encoder and VAE; Easel needs a whole model"),
    (r"hypernetworks?", "a hypernetwork, which Easel does not compute"),
    (r"ip-?adapter\w*|instantid|photomaker|style_models|gligen", "an adapter, which is not adopted from folders"),
)  # fmt: skip
"""What files are that cannot be identified, by the names of their folders."""


@dataclass(frozen=True, kw_only=True)
class ScannedFile:
    """`path` is relative to the scanned folder. `outcome`: "adopted", "present" (it was adopted before) or "skipped"
    with a `reason`. `kind`: "model", "lora" or "inversion" of what has a `name`."""

    path: str
    outcome: str
    name: str = ""
    kind: str = ""
    family: str = ""
    reason: str = ""


async def scan_folder(catalogue: ModelCatalogue, folder: str) -> list[ScannedFile]:
    """Raises: ModelRefused: there is no such folder, or no file of weights in it."""
    try:
        found = await asyncio.to_thread(_list_weights, folder)
    except (OSError, ValueError):  # too long, or with a null character
        found = []
    if not found:
        raise ModelRefused(as_utf8(folder)[:200], "no_models")
    if len(found) > MAX_FILES:
        raise ModelRefused(as_utf8(folder)[:200], "many_models")
    known = await asyncio.to_thread(_known_files, catalogue)
    return [await _adopt(catalogue, weights, known) for weights in found]


def _list_weights(folder: str) -> list["_Weights"]:
    if not folder.strip():
        return []
    return list(islice(_find_weights(Path(os.path.expanduser(folder)).absolute()), MAX_FILES + 1))


def _known_files(catalogue: ModelCatalogue) -> dict[Path, tuple[str, str]]:
    """Kind and name of what is installed, by its place."""
    models = {Path(spec.repo).resolve(): ("model", spec.name) for spec in catalogue.registry.all_specs if spec.is_local}
    return models | {Path(addon.path).resolve(): (addon.kind, addon.name) for addon in catalogue.list_addons()}


async def _adopt(catalogue: ModelCatalogue, weights: "_Weights", known: dict[Path, tuple[str, str]]) -> ScannedFile:
    relative = weights.shown_path
    if weights.real in known:
        kind, name = known[weights.real]
        return ScannedFile(path=relative, outcome=PRESENT, kind=kind, name=name)
    if reason := _reason_not_to_read(weights):
        return ScannedFile(path=relative, outcome=SKIPPED, reason=reason)
    try:
        kind, name, family = await _adopt_under_free_name(catalogue, weights)
    except UserError as refused:
        is_odd = isinstance(refused, ModelRefused) and refused.problem == "kind" and weights.path.suffix != GGUF_SUFFIX
        reason = (is_odd and _role_of(weights.relative)) or error_texts.explain(refused)
        return ScannedFile(path=relative, outcome=SKIPPED, reason=reason)
    except OSError as error:
        return ScannedFile(path=relative, outcome=SKIPPED, reason=f"It cannot be read: {error.strerror}.")
    known[weights.real] = (kind, name)
    return ScannedFile(path=relative, outcome=ADOPTED, kind=kind, name=name, family=family)


async def _adopt_under_free_name(catalogue: ModelCatalogue, weights: "_Weights") -> tuple[str, str, str]:
    """Under its own name, or with its folder's before it if that is taken: `SDXL/detail` beside `SD15/detail`.

    Raises: as `ModelCatalogue.adopt`.
    """
    name = _name_of(weights)
    try:
        return await catalogue.adopt(weights.path, name)
    except ModelRefused as refused:
        folder = weights.relative.parent.name
        if refused.problem != "taken" or not folder:
            raise
        return await catalogue.adopt(weights.path, f"{folder} {name}")


@dataclass(frozen=True)
class _Weights:
    """`problem`: why it is not even looked at."""

    path: Path
    relative: Path
    real: Path
    is_file: bool
    problem: str = ""

    @property
    def shown_path(self) -> str:
        return as_utf8(self.relative.as_posix())


def _find_weights(root: Path) -> Iterator[_Weights]:
    """Files of weights and folders in Diffusers' layout; each once, although links may lead to it repeatedly."""
    places = [root / "models", root / "embeddings"] if (root / "models").is_dir() else [root]
    seen: set[Path] = set()
    for place in places:
        for folder, names, files in os.walk(place, followlinks=True):
            here = Path(folder)
            if here.resolve() in seen:
                names.clear()
                continue
            seen.add(here.resolve())
            if len(seen) > MAX_FOLDERS:
                raise ModelRefused(as_utf8(str(root))[:200], "many_models")
            names[:] = sorted(name for name in names if not name.startswith("."))
            for closed in [here / name for name in names if not os.access(here / name, os.R_OK | os.X_OK)]:
                yield _Weights(closed, closed.relative_to(root), closed, is_file=False, problem=_CLOSED_FOLDER)
            if _INDEX in files:
                names.clear()
                yield _Weights(here, here.relative_to(root), here.resolve(), is_file=False)
                continue
            for path in (here / name for name in sorted(files) if _is_weights(here / name)):
                yield _Weights(path, path.relative_to(root), path.resolve(), is_file=True)


def _is_weights(path: Path) -> bool:
    suffix = path.suffix.casefold()
    if suffix not in _WEIGHTS or path.name.startswith(".") or not path.is_file():
        return False
    try:
        is_small = path.stat().st_size < _MIN_OTHER_BYTES
    except OSError:
        return False
    return suffix == _SAFETENSORS or not is_small or "embeddings" in path.parts


def _name_of(weights: _Weights) -> str:
    """That of a file; a repository's name in Hugging Face's cache, where folders are named by commits."""
    path = weights.path
    if weights.is_file:
        return default_name(path)
    return next((found[1] for part in reversed(path.parts) if (found := _CACHE_FOLDER.fullmatch(part))), path.name)


def _reason_not_to_read(weights: _Weights) -> str:
    """Empty if it can be identified."""
    if weights.problem:
        return weights.problem
    if as_utf8(str(weights.path)) != str(weights.path):
        return "Its path is not in UTF-8: rename it."
    suffix = weights.path.suffix
    return _format_reason(suffix) if weights.is_file and suffix not in (_SAFETENSORS, GGUF_SUFFIX) else ""


def _format_reason(suffix: str) -> str:
    if suffix == ".onnx":
        return f"Easel does not load {suffix} files."
    if suffix.casefold() in (".sft", _SAFETENSORS):
        return "Easel reads safetensors by the ending .safetensors: rename the file."
    if suffix.casefold() in UPSCALER_PICKLES:
        return (
            f"Files in the format {suffix} can run code and are not adopted: get the model as .safetensors; "
            "an upscaler is converted by `easel models add FILE`."
        )
    return f"Files in the format {suffix} can run code and are refused: get the model as .safetensors."


def _role_of(path: Path) -> str:
    """By the nearest folder whose name tells; empty if none does."""
    for part in reversed(path.parts[:-1]):
        for pattern, what in _ROLES:
            if re.fullmatch(pattern, part, re.IGNORECASE):
                return f"It is {what}."
    return ""
