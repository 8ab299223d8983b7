"""Which plan a model about to be loaded gets, by its files and by the memory that is free now."""

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch

from bot.errors import ModelUnavailable, OutOfMemory
from bot.memory import placement
from bot.memory.components import Part, role_of
from bot.memory.fit import can_quantize, gib
from bot.memory.placement import EIGHT_BIT, Plan, Room, Wanted
from bot.models import PICTURE_TASKS, ModelSpec
from inference.checkpoints.file_filter import variant_of

_MB = 2**20
_CGROUP = Path("/sys/fs/cgroup")
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
"""Of one number as safetensors name its format; every other takes one."""
SMALLEST_LAYER = 2**14
"""Weights of a layer below which 8 bits are not worth it."""
UNSHRUNK = ("embed", "shared", "lm_head", "wte", "norm", "proj_out")
"""Layers that stay as they are, by words in their names: embeddings are looked up, and what comes last is precise."""


@dataclass(frozen=True)
class Choice:
    """`plan`, and `more`: the plans that take less of the device, for when memory runs out all the same."""

    plan: Plan
    more: tuple[Plan, ...] = ()


def choose(model: ModelSpec, folder: Path, dtype: Any, device: str) -> Choice:
    """The best plan that fits what is free; of what the device cannot hold, the one that takes least of it.

    Raises: OutOfMemory: the machine has too little main memory. ModelUnavailable: 8 bits are asked for and torchao is
    not installed.
    """
    if model.quantize == EIGHT_BIT and not can_quantize():
        raise ModelUnavailable(model.name, "quantize = '8bit' needs torchao: install Easel with the extra `quant`")
    room = room_of(device)
    wanted = wanted_of(model, folder, dtype, has_accelerator=room.kind != "cpu")
    every = placement.plans(wanted, room)
    loadable = [one for one in every if room.has(0, max(one.ram_mb, one.load_mb))]
    if not loadable:
        least_mb = min(max(one.ram_mb, one.load_mb) for one in every) + placement.RAM_SPARE_MB
        raise OutOfMemory(f"loading it takes {gib(least_mb)} of main memory, {gib(room.ram_mb)} are free")
    plan = placement.plan(wanted, room) or min(loadable, key=lambda one: (one.peak_mb, one.cost))
    return Choice(plan, tuple(one for one in loadable if one.cost > plan.cost and one.peak_mb < plan.peak_mb))


# ---------------------------------------------------------------- what there is


def room_of(device: str) -> Room:
    """What is free now."""
    kind = kind_of(device)
    return Room(kind=kind, device_mb=free_mb(device), ram_mb=main_memory_mb(), can_quantize=can_quantize())


def whole_room(device: str) -> Room:
    """What this process could have if it gave everything back."""
    room = room_of(device)
    own_mb = int(psutil.Process().memory_info().rss // _MB)
    ram_mb = min(room.ram_mb + own_mb, int(psutil.virtual_memory().total // _MB))
    return replace(room, device_mb=room.device_mb + allocated_mb(device) if room.device_mb else 0, ram_mb=ram_mb)


def allocated_mb(device: str) -> int:
    """What tensors of this process take of the device's own memory, MiB."""
    kind = device.partition(":")[0]
    if kind in ("cuda", "xpu"):
        return int(getattr(torch, kind).memory_allocated(device) // _MB)
    return int(torch.mps.current_allocated_memory() // _MB) if kind == "mps" else 0


def kind_of(device: str) -> str:
    """ "cuda", "rocm", "xpu", "mps" or "cpu"; torch calls AMD's cards cuda too."""
    kind = device.partition(":")[0]
    return "rocm" if kind == "cuda" and torch.version.hip else kind


def free_mb(device: str) -> int:
    """Free memory of the device, with what this process keeps and does not use, MiB; 0: it does not say."""
    kind = device.partition(":")[0]
    if kind in ("cuda", "xpu"):
        backend = getattr(torch, kind)
        free = int(backend.mem_get_info(device)[0])
        return int((free + backend.memory_reserved(device) - backend.memory_allocated(device)) // _MB)
    if kind == "mps":
        return int((torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()) // _MB)
    return 0


def main_memory_mb(cgroup: Path = _CGROUP) -> int:
    """Main memory that is free for this process, MiB: the machine's, or less where it runs in a container."""
    available = int(psutil.virtual_memory().available)
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        counts = (cgroup / "memory.stat").read_text().split()
        cached = int(counts[counts.index("inactive_file") + 1])
    except (OSError, ValueError):  # no container, or "max": no limit
        return available // _MB
    return min(available, max(0, limit - used + cached)) // _MB


# ---------------------------------------------------------------- what a model takes


def wanted_of(model: ModelSpec, folder: Path, dtype: Any, *, has_accelerator: bool) -> Wanted:
    """By what lies on the disk, in the formats that it may be loaded in."""
    weights = weights_of(model, folder)
    wide = _bytes_of(dtype)
    parts = tuple(
        Part(name=name, role=role_of(name), size_mb=one.size_mb(wide), small_mb=one.small_mb(wide))
        for name, one in weights.items()
    )
    total = {form: sum(one.size_mb(_bytes_of(form)) for one in weights.values()) for form in _cpu_formats(model, dtype)}
    cpu = tuple((str(form).removeprefix("torch."), size_mb) for form, size_mb in total.items())
    if model.quantize == EIGHT_BIT:
        cpu = ((EIGHT_BIT, sum(part.small_mb or part.size_mb for part in parts)),)
    is_picture_model = bool(PICTURE_TASKS & set(model.tasks))
    return Wanted(
        name=model.name,
        parts=parts,
        work_mb=model.work_mb,
        decode_mb=model.decode_mb,
        quantize=model.quantize,
        cpu=() if has_accelerator and is_picture_model else cpu,
    )


@dataclass
class Weights:
    """Numbers of one part: `all` of them, and those `shrinkable` to 8 bits."""

    all: int = 0
    shrinkable: int = 0

    def size_mb(self, wide: int) -> int:
        """In a format of so many bytes a number."""
        return math.ceil(self.all * wide / _MB)

    def small_mb(self, wide: int) -> int:
        """In 8 bits; 0: it has no layers to shrink."""
        return math.ceil((self.shrinkable + (self.all - self.shrinkable) * wide) / _MB) if self.shrinkable else 0


def weights_of(model: ModelSpec, folder: Path) -> dict[str, Weights]:
    """Of each part: a folder of a pipeline, or what a name in the file of a single model begins with."""
    is_pipeline = (folder / "model_index.json").exists()
    found: dict[str, Weights] = {}
    files = [folder] if folder.is_file() else folder.glob("*/*.safetensors" if is_pipeline else "*.safetensors")
    for file in _files_of(model, files):
        for name, (_, shape) in _tensors(file).items():
            part = file.parent.name if is_pipeline else _part_of(name)
            numbers = math.prod(shape)
            weights = found.setdefault(part, Weights())
            weights.all += numbers
            weights.shrinkable += numbers if is_shrinkable(name, shape) else 0
    return found


def is_shrinkable(name: str, shape: Iterable[int]) -> bool:
    """A layer's matrix that 8 bits are worth for."""
    sides = list(shape)
    is_large = len(sides) == 2 and math.prod(sides) >= SMALLEST_LAYER
    return is_large and not any(word in name.lower() for word in UNSHRUNK)


_IN_ONE_FILE = {
    "diffusion_model": "unet",
    "first_stage_model": "vae",
    "cond_stage_model": "text_encoder",
    "conditioner": "text_encoder",
}
"""Parts of a whole model in one file, and what Diffusers calls them."""


def _part_of(name: str) -> str:
    words = name.split(".")
    part = words[1] if words[0] == "model" and len(words) > 2 else words[0]
    return _IN_ONE_FILE.get(part, part)


def _files_of(model: ModelSpec, files: Iterable[Path]) -> list[Path]:
    """In each folder those of the model's variant, or all."""
    by_folder: dict[Path, list[Path]] = {}
    for file in sorted(files):
        by_folder.setdefault(file.parent, []).append(file)
    return [
        one
        for some in by_folder.values()
        for one in ([file for file in some if variant_of(file.name) == model.variant] or some)
    ]


def _tensors(file: Path) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    """Format and shape of each tensor, by the file's header."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    return {name: (one["dtype"], tuple(one["shape"])) for name, one in header.items() if name != "__metadata__"}


def _cpu_formats(model: ModelSpec, dtype: Any) -> list[Any]:
    """The best first. What the owner chose is kept; else what computes quickest there, else what takes less."""
    return [torch.float32, torch.bfloat16] if model.dtype == "auto" else [dtype]


def _bytes_of(dtype: Any) -> int:
    return int(torch.empty((), dtype=dtype).element_size())
