"""Chooses the memory plan of a model that is about to be loaded, by its files and the free memory."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch

from bot.errors import ModelUnavailable, OutOfMemory
from bot.memory import placement
from bot.memory.compiled import keeps_both_denoisers, with_compiled_denoiser
from bot.memory.components import Component, ComponentRole, component_role
from bot.memory.fit import format_gib
from bot.memory.placement import MemoryBudget, ModelRequirements, PlacementPlan
from bot.memory.weights import FORMATS, FOUR_BIT_BYTES, has_bitsandbytes, has_torchao
from bot.model_install.gguf_header import UNQUANTIZED
from bot.model_install.model_headers import DamagedModelFile, read_header, read_tensor_shapes
from bot.models import IMAGE_TASKS, TORCH, ModelSpec
from inference.checkpoints.file_filter import unused_components, variant_of
from inference.checkpoints.gguf_layout import open_gguf
from inference.checkpoints.resolve import base_model_path, control_path
from inference.memory.formats import format_problem

_MB = 2**20
_CGROUP = Path("/sys/fs/cgroup")
_INTEGERS = ("I", "U", "BOOL")
"""Beginnings of number formats in which weights stay: those of denoisers that are quantized in their files."""
_FULL_WIDTH = 4
"""Bytes per number in float32."""
MIN_LAYER_WEIGHTS = 2**14
"""Smaller layers are not quantized, as that would save little."""
NOT_QUANTIZED = ("embed", "shared", "lm_head", "wte", "norm", "proj_out")
"""Parts of the names of layers that are not quantized: embeddings are lookups, and output layers need precision."""
NOT_CAST = ("embed", "norm", r"^(diffusion_model\.)?(conv|proj)_(in|out)\b")
"""Patterns in the names of layers that are not cast to 8-bit floats: they are small and need precision."""


@dataclass(frozen=True)
class MemoryPlan:
    """`plan`, and `fallbacks`: plans that use less device memory, in case memory runs out nevertheless.

    `keeps_original`: there is memory for the torch denoiser beside the compiled one.
    """

    plan: PlacementPlan
    fallbacks: tuple[PlacementPlan, ...] = ()
    keeps_original: bool = True


def choose_plan(model: ModelSpec, folder: Path, dtype: Any, device: str) -> MemoryPlan:
    """The best plan that fits the free memory; if none fits, the one that uses the least device memory.

    Raises: OutOfMemory: there is too little RAM. ModelUnavailable: the configured format is not available.
    """
    if problem := format_problem(model, folder, device_kind(device), device):
        raise ModelUnavailable(model.name, problem)
    budget = free_memory_budget(device)
    needs = memory_needs(model, folder, dtype, has_accelerator=budget.kind != "cpu")
    candidates = placement.all_plans(needs, budget)
    loadable = [plan for plan in candidates if budget.fits(0, max(plan.ram_mb, plan.load_mb))]
    if not loadable:
        least_mb = min(max(plan.ram_mb, plan.load_mb) for plan in candidates) + placement.RAM_SPARE_MB
        raise OutOfMemory(f"loading it needs {format_gib(least_mb)} of RAM, {format_gib(budget.ram_mb)} are free")
    best = placement.best_plan(needs, budget) or min(loadable, key=lambda plan: (plan.peak_mb, plan.cost))
    fallbacks = (plan for plan in loadable if plan.cost > best.cost and plan.peak_mb < best.peak_mb)
    keeps_original = keeps_both_denoisers(model, needs.cpu_formats, (best.format, best.load_mb))
    return MemoryPlan(best, tuple(fallbacks), keeps_original)


# ---------------------------------------------------------------- available memory


def free_memory_budget(device: str) -> MemoryBudget:
    """The memory that is free now."""
    kind = device_kind(device)
    return MemoryBudget(
        kind=kind,
        device_mb=free_device_mb(device),
        ram_mb=free_ram_mb(),
        can_quantize=has_torchao(),
        can_use_4bit=has_bitsandbytes(),
    )


def total_memory_budget(device: str) -> MemoryBudget:
    """The memory that would be free if this process freed all of its own."""
    budget = free_memory_budget(device)
    own_mb = int(psutil.Process().memory_info().rss // _MB)
    ram_mb = min(budget.ram_mb + own_mb, int(psutil.virtual_memory().total // _MB))
    device_mb = budget.device_mb + allocated_mb(device) if budget.device_mb else 0
    return replace(budget, device_mb=device_mb, ram_mb=ram_mb)


def allocated_mb(device: str) -> int:
    """Device memory in use by tensors of this process, MiB; 0 where the device has no memory of its own."""
    kind = device.partition(":")[0]
    if kind in ("cuda", "xpu"):
        return int(getattr(torch, kind).memory_allocated(device) // _MB)
    return int(torch.mps.current_allocated_memory() // _MB) if kind == "mps" else 0


def device_kind(device: str) -> str:
    """ "cuda", "rocm", "xpu", "mps" or "cpu"; torch calls AMD's cards "cuda" as well."""
    kind = device.partition(":")[0]
    return "rocm" if kind == "cuda" and torch.version.hip else kind


def free_device_mb(device: str) -> int:
    """Free device memory, including what this process has reserved but not allocated, MiB; 0: unknown."""
    kind = device.partition(":")[0]
    if kind in ("cuda", "xpu"):
        backend = getattr(torch, kind)
        free = int(backend.mem_get_info(device)[0])
        return int((free + backend.memory_reserved(device) - backend.memory_allocated(device)) // _MB)
    if kind == "mps":
        return int((torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()) // _MB)
    return 0


def free_ram_mb(cgroup: Path = _CGROUP) -> int:
    """RAM available to this process, MiB: the machine's, or less in a container with a limit."""
    available = int(psutil.virtual_memory().available)
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        counts = (cgroup / "memory.stat").read_text().split()
        cached = int(counts[counts.index("inactive_file") + 1])
    except (OSError, ValueError):  # not in a container, or "max": no limit
        return available // _MB
    return min(available, max(0, limit - used + cached)) // _MB


# ---------------------------------------------------------------- a model's requirements


def memory_needs(model: ModelSpec, folder: Path, dtype: Any, *, has_accelerator: bool) -> ModelRequirements:
    """By the files on the disk, in the number formats the model can be loaded in."""
    weights = count_weights(model, folder)
    width = _bytes_per_weight(dtype)
    is_upcast = _is_vae_upcast(base_model_path(model) if model.is_gguf else folder)
    widths = {"vae": max(width, _FULL_WIDTH)} if is_upcast else {}
    parts = tuple(_component(name, counts, width, widths.get(name, width)) for name, counts in weights.items())
    controls = _count_largest_control(model)
    if controls.total:
        weights = {**weights, ComponentRole.CONTROL.value: controls}
        size_mb = controls.size_mb(width)
        parts += (Component(name=ComponentRole.CONTROL.value, role=ComponentRole.CONTROL, size_mb=size_mb),)
    total_mb = {
        cpu_dtype: sum(counts.size_mb(_bytes_per_weight(cpu_dtype)) for counts in weights.values())
        for cpu_dtype in _cpu_dtypes(model, dtype)
    }
    cpu = tuple((str(cpu_dtype).removeprefix("torch."), size_mb) for cpu_dtype, size_mb in total_mb.items())
    if model.backend != TORCH:
        denoisers = [counts for name, counts in weights.items() if component_role(name) is ComponentRole.DENOISER]
        cpu = with_compiled_denoiser(
            (name, size_mb, sum(counts.size_mb(_bytes_per_weight(cpu_dtype)) for counts in denoisers))
            for (name, size_mb), cpu_dtype in zip(cpu, total_mb, strict=True)
        )
    if model.quantize in FORMATS:
        cpu = ((model.quantize, sum(part.size_in(model.quantize) for part in parts)),)
    is_picture_model = bool(IMAGE_TASKS & set(model.tasks))
    return ModelRequirements(
        name=model.name,
        components=parts,
        activation_mb=model.activation_mb,
        vae_decode_mb=model.vae_decode_mb * (2 if is_upcast and dtype == torch.float16 else 1),
        quantize=model.quantize,
        cpu_formats=() if has_accelerator and is_picture_model else cpu,
    )


def _is_vae_upcast(folder: Path) -> bool:
    """Whether the pipeline casts its VAE to float32, which SDXL's do unless the VAE's configuration says otherwise."""
    if folder.is_file():
        return any(name.startswith("conditioner.") for name in read_tensor_shapes(folder))
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        config = json.loads((folder / "vae" / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return "XL" in str(index.get("_class_name")) and bool(config.get("force_upcast", True))


def _component(name: str, counts: "WeightCounts", width: int, own_width: int) -> Component:
    """`width`: bytes per weight that is not quantized; `own_width`: the same while the component is not quantized."""
    role = component_role(name)
    is_text_model = role in (ComponentRole.TEXT_ENCODER, ComponentRole.LANGUAGE_MODEL)
    return Component(
        name=name,
        role=role,
        size_mb=counts.size_mb(own_width),
        quantized_mb=counts.reduced_mb(counts.quantizable, 1, width),
        fp8_mb=counts.reduced_mb(counts.castable, 1, width) if role is ComponentRole.DENOISER else 0,
        four_bit_mb=counts.reduced_mb(counts.quantizable, FOUR_BIT_BYTES, width) if is_text_model else 0,
    )


@dataclass
class WeightCounts:
    """Number of a component's weights: `total`, `quantizable` to integers and `castable` to 8-bit floats.

    `fixed_bytes`: the size of weights whose format is the file's.
    """

    total: int = 0
    quantizable: int = 0
    castable: int = 0
    fixed_bytes: int = 0

    def size_mb(self, bytes_each: int) -> int:
        """Size with `bytes_each` bytes per weight."""
        return math.ceil((self.total * bytes_each + self.fixed_bytes) / _MB)

    def reduced_mb(self, reduced: int, bytes_each: float, bytes_of_others: int) -> int:
        """Size if `reduced` weights have `bytes_each` bytes; 0: none can be reduced."""
        if not reduced:
            return 0
        return math.ceil((reduced * bytes_each + (self.total - reduced) * bytes_of_others + self.fixed_bytes) / _MB)


def count_weights(model: ModelSpec, folder: Path) -> dict[str, WeightCounts]:
    """By component: a folder of a pipeline, or, in a single file, the prefix of the tensors' names."""
    if model.is_gguf:
        return _count_gguf(model, folder)
    is_pipeline = (folder / "model_index.json").exists()
    counts: dict[str, WeightCounts] = {}
    files = [folder] if folder.is_file() else folder.glob("*/*.safetensors" if is_pipeline else "*.safetensors")
    unused = _unused_components(folder) if is_pipeline else ()
    for file in _variant_files(model, files):
        if file.parent.name in unused:
            continue
        header = read_header(file)
        for name, shape in header.shapes.items():
            component = counts.setdefault(file.parent.name if is_pipeline else _component_of(name), WeightCounts())
            weights = math.prod(shape)
            if header.formats[name].startswith(_INTEGERS):
                start, end = header.extents[name]
                component.fixed_bytes += end - start
                continue
            component.total += weights
            component.quantizable += weights if is_quantizable(name, shape) else 0
            component.castable += weights if is_castable(name, shape) else 0
    return counts


def _count_gguf(model: ModelSpec, path: Path) -> dict[str, WeightCounts]:
    """The denoiser's weights have the size that they have in the file; the other components are the base model's."""
    base = base_model_path(model)
    others = count_weights(replace(model, repo=str(base), file=""), base)
    header, layout = open_gguf(model.name, path)
    fixed = {name: size for name, size in header.sizes.items() if header.formats[name] not in UNQUANTIZED}
    total = sum(math.prod(shape) for name, shape in header.shapes.items() if name not in fixed)
    denoisers = [name for name in others if component_role(name) is ComponentRole.DENOISER]
    counts = {name: counts for name, counts in others.items() if name not in denoisers}
    return {layout.component: WeightCounts(total=total, fixed_bytes=sum(fixed.values())), **counts}


def _unused_components(folder: Path) -> tuple[str, ...]:
    """What is in the folder and is not loaded."""
    try:
        return unused_components(json.loads((folder / "model_index.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return ()


def _count_largest_control(model: ModelSpec) -> WeightCounts:
    """Of the weights configured as its controls that are here: at least these can then be loaded."""
    largest = WeightCounts()
    for kind in model.controls:
        source = model.control_source(kind)
        assert source is not None
        try:
            path = control_path(source, model.name)
            files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
            plain = [file for file in files if not variant_of(file.name)] or files
            total = sum(math.prod(shape) for file in plain for shape in read_tensor_shapes(file).values())
        except (ModelUnavailable, DamagedModelFile, OSError):
            continue
        largest = max(largest, WeightCounts(total), key=lambda counts: counts.total)
    return largest


def is_quantizable(name: str, shape: Iterable[int]) -> bool:
    """Whether the tensor is a layer's matrix that is worth quantizing to 8 bits."""
    sides = list(shape)
    is_large = len(sides) == 2 and math.prod(sides) >= MIN_LAYER_WEIGHTS
    return is_large and not any(word in name.lower() for word in NOT_QUANTIZED)


def is_castable(name: str, shape: Iterable[int]) -> bool:
    """Whether the tensor is the matrix or kernel of a layer that is stored as 8-bit floats."""
    return len(list(shape)) >= 2 and not any(re.search(pattern, name.lower()) for pattern in NOT_CAST)


_COMPONENT_BY_PREFIX = {
    "diffusion_model": "unet",
    "first_stage_model": "vae",
    "cond_stage_model": "text_encoder",
    "conditioner": "text_encoder",
    "layers": "language_model",
}
"""The components' names by the prefixes of single-file checkpoints, and of older vision-language models."""


def _component_of(name: str) -> str:
    words = name.split(".")
    prefix = words[1] if words[0] == "model" and len(words) > 2 else words[0]
    return _COMPONENT_BY_PREFIX.get(prefix, prefix)


def _variant_files(model: ModelSpec, files: Iterable[Path]) -> list[Path]:
    """In each folder the files of the model's variant; all files where there are none of it."""
    by_folder: dict[Path, list[Path]] = {}
    for file in sorted(files):
        by_folder.setdefault(file.parent, []).append(file)
    selected: list[Path] = []
    for siblings in by_folder.values():
        selected += [file for file in siblings if variant_of(file.name) == model.variant] or siblings
    return selected


def _cpu_dtypes(model: ModelSpec, dtype: Any) -> list[Any]:
    """The owner's choice; otherwise the fastest on a CPU first, then the smaller one."""
    return [torch.float32, torch.bfloat16] if model.dtype == "auto" else [dtype]


def _bytes_per_weight(dtype: Any) -> int:
    return int(torch.empty((), dtype=dtype).element_size())
