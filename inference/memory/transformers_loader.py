"""Loads a Transformers model from a folder, in the number format and to the places that its memory plan says.

Nothing is downloaded, and only safetensors are read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from bot.errors import ModelUnavailable
from bot.models import ModelSpec
from inference.checkpoints.resolve import require_safetensors
from inference.memory.formats import weight_formats
from inference.memory.int8_layers import has_fast_int8
from inference.memory.offload import ComponentOffloader
from inference.memory.planner import MemoryPlan, choose_plan
from inference.memory.precision import dtype_for, planned_dtype
from inference.memory.quantization import quantize_planned

ATTENTION = "sdpa"
"""PyTorch's scaled dot product attention, which uses flash attention if the device supports it. Architectures without
it get the library's own choice for each of their parts: GroundingDINO's text encoder gives wrong states when eager."""
_OPTIONAL_WEIGHTS = (
    *("rotary", "position_ids", "lm_head.weight", "embed_tokens.weight", "shared.weight"),
    "num_batches_tracked",
)
"""Weights that a file may omit: they are computed, tied to other weights, or only count the steps of training."""


def load_module(model_class: Any, model: ModelSpec, folder: Path, device: str) -> Any:
    """The model on the device; `inference.memory.offload.offloader_of` returns where its components are.

    Raises: ModelUnavailable, OutOfMemory.
    """
    module, plan = load_in_main_memory(model_class, model, folder, device)
    place_module(module, plan, device)
    return module


def load_in_main_memory(
    model_class: Any, model: ModelSpec, folder: Path, device: str, config: Any = None
) -> tuple[Any, MemoryPlan]:
    """The model in main memory, and its memory plan. Raises: ModelUnavailable, OutOfMemory."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    require_safetensors(model, folder)
    dtype = dtype_for(model, device)
    plan = choose_plan(model, folder, dtype, device)
    settings: dict[str, Any] = {
        "dtype": planned_dtype(plan.plan, dtype),
        "use_safetensors": True,
        "local_files_only": True,
        "output_loading_info": True,
        **({} if config is None else {"config": config}),
    }
    try:
        module, info = model_class.from_pretrained(folder, attn_implementation=ATTENTION, **settings)
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
        module, info = model_class.from_pretrained(folder, **settings)
    _require_all_weights(model, info)
    return module, plan


def place_module(
    module: Any, plan: MemoryPlan, device: str, components: Mapping[str, torch.nn.Module] | None = None
) -> None:
    """Put its components where the plan says. `components`: by their names in its files; None: its children."""
    module.eval()
    components = dict(module.named_children()) if components is None else components
    quantize_planned(components, plan.plan, has_fast_int8=has_fast_int8(device))
    module.offloader = ComponentOffloader(module, components, plan, device)
    module.offloader.formats = weight_formats(components, plan.plan, has_dynamic_fp8=False)


def _require_all_weights(model: ModelSpec, info: Any) -> None:
    """Raises: ModelUnavailable: weights are missing and would be initialised at random."""
    missing = sorted(str(key) for key in info.get("missing_keys", ()))
    missing = [key for key in missing if not key.endswith(_OPTIONAL_WEIGHTS)]
    if missing:
        few = ", ".join(missing[:3])
        raise ModelUnavailable(model.name, f"its files lack {len(missing)} of its weights, for example {few}")
