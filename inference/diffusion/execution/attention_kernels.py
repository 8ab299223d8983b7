"""The kernels that can compute a denoiser's attention without code from a hub.

Torch's own choice comes first and is always there. Its other kernels are only preferred: a call that they cannot
compute, such as one with a mask, falls back to the next. The packages' kernels are used through Diffusers' dispatcher,
which raises for such a call.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from diffusers import attention_backend
from torch.nn.attention import SDPBackend, sdpa_kernel

NATIVE = "native"


@dataclass(frozen=True)
class AttentionKernel:
    """`preferred`: one of torch's kernels, by its name there. `package`, `backend`: of another, by its import name and
    by Diffusers' name."""

    name: str
    preferred: str = ""
    package: str = ""
    backend: str = ""

    def is_usable(self, denoiser: Any, device: str) -> bool:
        if self.name == NATIVE:
            return True
        if device.partition(":")[0] != "cuda":
            return False
        return not self.package or (find_spec(self.package) is not None and uses_dispatcher(denoiser))

    def active(self) -> AbstractContextManager[Any]:
        """Calls in the block use this kernel."""
        if self.preferred:
            return _preferring(self.preferred)
        return attention_backend(self.backend) if self.backend else nullcontext()


ATTENTION_KERNELS = (
    AttentionKernel(NATIVE),
    AttentionKernel("native_flash", preferred="FLASH_ATTENTION"),
    AttentionKernel("native_cudnn", preferred="CUDNN_ATTENTION"),
    AttentionKernel("native_efficient", preferred="EFFICIENT_ATTENTION"),
    AttentionKernel("flash", package="flash_attn", backend="flash"),
    AttentionKernel("flash_3", package="flash_attn_interface", backend="_flash_3"),
    AttentionKernel("sage", package="sageattention", backend="sage"),
    AttentionKernel("xformers", package="xformers", backend="xformers"),
)
"""Names have at most 16 characters: the database stores them."""


def usable_kernels(denoiser: Any, device: str) -> list[AttentionKernel]:
    """Torch's own choice first."""
    return [kernel for kernel in ATTENTION_KERNELS if kernel.is_usable(denoiser, device)]


def uses_dispatcher(denoiser: Any) -> bool:
    """Whether its attention goes through Diffusers' dispatcher, as that of transformers does, and UNets' does not."""
    processors = (getattr(part, "processor", None) for part in denoiser.modules())
    return any(hasattr(processor, "_attention_backend") for processor in processors)


@contextmanager
def _preferring(name: str) -> Iterator[None]:
    order = ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH")
    first = [name, *(other for other in order if other != name)]
    with sdpa_kernel([SDPBackend.__members__[one] for one in first], set_priority=True):
        yield
