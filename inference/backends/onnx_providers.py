"""Options of ONNX Runtime's execution providers. Imports nothing of it.

Only the processor's provider runs in the tests. The options of the others were written from their documentation and
have not run: docs/models.md says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

PROVIDERS: Mapping[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
"""ONNX Runtime's names of the values of `ModelSpec.providers`."""
CPU = "cpu"
MAX_ROWS, MAX_TOKENS = 16, 512
"""Of a pass, and of its prompts, that TensorRT compiles for; larger ones are computed by the next provider."""
_FLOAT32 = "float32"
_TENSORRT_PRECISIONS = {"float16": "trt_fp16_enable", "bfloat16": "trt_bf16_enable"}

Lengths = tuple[int, int, int]
"""The shortest, the usual and the longest length of an axis."""


@dataclass(frozen=True)
class GraphInput:
    """An input of a graph: its name, and the length of each axis, or the axis's name where lengths may differ."""

    name: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Profile:
    """Lengths that TensorRT compiles the graph for: those of one image size.

    Attributes:
        lengths: by the name of the axis.
        other: of the other axes, those of the residuals of controls.
    """

    lengths: Mapping[str, Lengths]
    other: Lengths = (1, 1, 1)

    def of_axis(self, axis: int | str) -> Lengths:
        return (axis, axis, axis) if isinstance(axis, int) else self.lengths.get(axis, self.other)

    def holds(self, inputs: Sequence[GraphInput], shapes: Sequence[Sequence[int]]) -> bool:
        """Whether TensorRT can compute inputs of these shapes with this profile."""
        return all(
            self.of_axis(axis)[0] <= length <= self.of_axis(axis)[2]
            for given, shape in zip(inputs, shapes, strict=True)
            for axis, length in zip(given.shape, shape, strict=True)
        )


def profile_for(width: int, height: int) -> Profile:
    """The profile for images of this size in pixels: latent cells of 8 pixels, patches of 16, in padded rows."""
    cells, patches = (height // 8, width // 8), (width // 16) * (height // 16)
    padded = -(-patches // 32) * 32
    return Profile(
        {
            "rows": (1, 2, MAX_ROWS),
            "height": (cells[0],) * 3,
            "width": (cells[1],) * 3,
            "patches": (min(patches, padded), padded, padded),
            "tokens": (1, 77, MAX_TOKENS),
        },
        other=(1, 1, max(MAX_ROWS, *cells)),
    )


def choose_providers(wanted: Sequence[str]) -> tuple[str, ...]:
    """The providers of a session, best first. The processor's is the last, for what the others cannot compute."""
    return (*(name for name in wanted if name != CPU), CPU)


def refused_options(wanted: Sequence[str], precision: str, available: Sequence[str]) -> str:
    """A sentence that says why this installation cannot open a graph so; empty: it can."""
    missing = [name for name in wanted if PROVIDERS.get(name) not in available]
    if missing:
        found = ", ".join(name for name, full in PROVIDERS.items() if full in available)
        return f"The installed ONNX Runtime has no provider {', '.join(missing)}; it has {found or 'none'}."
    if precision != _FLOAT32 and not (wanted and wanted[0] == "tensorrt"):
        return f"ONNX Runtime computes {precision} with TensorRT only: use float32."
    return ""


def provider_options(
    name: str,
    *,
    precision: str = _FLOAT32,
    cache: Path | None = None,
    inputs: Sequence[GraphInput] = (),
    profiles: Sequence[Profile] = (),
) -> dict[str, str]:
    """The options of one provider, which in float32 computes as exactly as torch."""
    match name:
        case "cuda":
            return {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
        case "tensorrt":
            flag = _TENSORRT_PRECISIONS.get(precision)
            return _engine_cache(cache) | profile_shapes(inputs, profiles) | ({flag: "1"} if flag else {})
        case "coreml":
            # The Neural Engine computes in float16, so it is left out.
            return {"ModelFormat": "MLProgram", "MLComputeUnits": "CPUAndGPU", "RequireStaticInputShapes": "0"}
    return {}


def _engine_cache(folder: Path | None) -> dict[str, str]:
    if folder is None:
        return {}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }


def profile_shapes(inputs: Sequence[GraphInput], profiles: Sequence[Profile]) -> dict[str, str]:
    """TensorRT's options for these profiles: an input that is named several times has as many profiles."""
    if not profiles:
        return {}
    return {
        f"trt_profile_{bound}_shapes": ",".join(
            f"{given.name}:{'x'.join(str(profile.of_axis(axis)[index]) for axis in given.shape)}"
            for profile in profiles
            for given in inputs
        )
        for index, bound in enumerate(("min", "opt", "max"))
    }


def session_settings(providers: Sequence[str]) -> Mapping[str, Any]:
    """Attributes of a session's options that its providers need."""
    return MappingProxyType({"enable_mem_pattern": False} if "directml" in providers else {})


def runs_one_at_a_time(providers: Sequence[str]) -> bool:
    """Whether a session computes one call at a time only."""
    return "directml" in providers
