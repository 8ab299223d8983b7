"""A component whose calls compute in different number formats, such as a VAE that overflows in float16.

Stock pipelines cast such a VAE with `.to` before a call and back after it. Here the pipelines of several images share
one VAE and their decodes wait for a thread, so a `ModuleProxy` only records the format, and the weights are cast when
the call is made. They stay in that format until a call needs another: if all calls agree, they are cast once. Seamless
tiling is a setting of the module too, and is switched in the same way.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from inference.diffusion.coroutines import ModuleCall
from inference.diffusion.tiling import execute_seamless, set_tiling, works_in_tiles


class SharedComponent:
    """Makes calls of a component from several threads: those in one format at the same time, others after them.

    Video autoencoders such as Qwen-Image's keep what a call has computed in the module: their calls are made in turn.

    Attributes:
        loaded_dtype: the format it was loaded in, to which stock pipelines cast it back. Half precision survives the
            way through float32 unchanged.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.loaded_dtype: torch.dtype = module.dtype
        self._dtype: torch.dtype | None = self.loaded_dtype
        self._is_tiled = False
        self._calls_in_flight = 0
        self._is_reentrant = not hasattr(module, "clear_cache")
        self._changed = threading.Condition()

    def execute(self, call: ModuleCall) -> Any:
        """Make the call with the weights and its tensors in the call's dtype."""
        dtype = call.dtype or self.loaded_dtype
        args = tuple(arg.to(dtype) if isinstance(arg, torch.Tensor) else arg for arg in call.args)
        made = replace(call, args=args)
        if call.is_tiled and works_in_tiles(self.module, made):
            with self._set_to(dtype, False):
                return execute_seamless(self.module, made)
        with self._set_to(dtype, call.is_tiled):
            return made.execute(self.module)

    def decode_preview(self, latents: torch.Tensor) -> torch.Tensor:
        """The image of latents, in the format in which the decoder does not overflow."""
        dtype = upcast_dtype(self.module, self.loaded_dtype)
        decoded: torch.Tensor = self.execute(ModuleCall("vae", "decode", (latents,), {"return_dict": False}, dtype))[0]
        return decoded

    @contextmanager
    def _set_to(self, dtype: torch.dtype, is_tiled: bool) -> Iterator[None]:
        wanted = (dtype, is_tiled)
        with self._changed:
            self._changed.wait_for(lambda: not self._calls_in_flight or self._may_join(wanted))
            if self._dtype != dtype:
                self._cast_weights(dtype)
            if self._is_tiled != is_tiled:
                set_tiling(self.module, is_tiled)
                self._is_tiled = is_tiled
            self._calls_in_flight += 1
        try:
            yield
        finally:
            with self._changed:
                self._calls_in_flight -= 1
                self._changed.notify_all()

    def _may_join(self, wanted: tuple[torch.dtype, bool]) -> bool:
        """Whether a call in this format may run beside those in flight."""
        return self._is_reentrant and (self._dtype, self._is_tiled) == wanted

    def _cast_weights(self, dtype: torch.dtype) -> None:
        """Other CUDA streams must have finished with the old weights, and must not use the new ones too early."""
        self._synchronize()
        self._dtype = None  # a cast that runs out of memory leaves some of them in either format
        self.module.to(dtype=dtype)
        self._synchronize()
        self._dtype = dtype

    def _synchronize(self) -> None:
        if self.module.device.type == "cuda":
            torch.cuda.synchronize(self.module.device)


def upcast_dtype(module: Any, dtype: torch.dtype) -> torch.dtype:
    """float32 instead of float16 where the component's configuration demands it."""
    is_demanded = bool(getattr(module.config, "force_upcast", False))
    return torch.float32 if is_demanded and dtype == torch.float16 else dtype
