"""Which number format a model computes in on which device."""

import torch

from bot.errors import ModelUnavailable
from bot.models import ModelSpec

_DTYPES = {
    "fp32": torch.float32,
    "float32": torch.float32,
    "fp16": torch.float16,
    "float16": torch.float16,
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
}


def dtype_for(model: ModelSpec, device: str) -> torch.dtype:
    """The configured one; "auto": half precision on graphics cards, full precision on CPU and Apple's.

    Raises: ModelUnavailable.
    """
    if model.dtype != "auto":
        try:
            return _DTYPES[model.dtype]
        except KeyError:
            known = ", ".join(_DTYPES)
            raise ModelUnavailable(model.name, f"dtype {model.dtype!r} is none of: auto, {known}") from None
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if device.startswith("xpu") else torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
