"""How torch computes the calls of a denoiser: with which attention kernel, and whether its blocks are compiled.

Both are chosen by what was measured on this device (kernel_trial.py), and change no image beyond what the trial allows.
A call that fails with either is repeated without it, and so are all later ones.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch

from bot.models import TORCH, ModelSpec
from bot.ports import Measurement
from inference.backends import regional_compile
from inference.backends.compiled_module import CompiledModule
from inference.backends.regional_compile import (
    HAS_BACKEND,
    REASONS,
    STREAMED,
    RegionalCompile,
    compile_problem,
    is_compile_error,
)
from inference.diffusion.execution.attention_kernels import NATIVE, AttentionKernel, usable_kernels
from inference.diffusion.execution.compiled_denoiser import FAILED as FAILED_BUILD
from inference.diffusion.execution.compiled_denoiser import OpenedDenoiser
from inference.engine.base import TRIED
from inference.engine.error_mapping import is_out_of_memory
from inference.ipc import child
from inference.memory.offload import offloader_of
from inference.memory.quantization import dtype_of

ATTENTION, COMPILE = TRIED
"""What is measured, as `Measurement.what`; its `backend` is the name of the kernel, or one of the next two."""
UNCOMPILED, COMPILED = "uncompiled", "compiled"
MIN_GAIN = 0.03
"""Another kernel, or compiled blocks, must save at least this part of a pass."""
NEVER_S = 3600.0
"""Recorded as the seconds of what must not be chosen: it changes images, or fails."""
T = TypeVar("T")


class DenoiserExecution:
    """Of one loaded denoiser.

    Attributes:
        kernels: those that can be tried here.
        kernel: the one in use.
        compiled: its blocks; None: they are not compiled.
        build: the compiled denoiser that computes instead; None: there is none.
        problem: why torch.compile is not used although the owner asked for it, as a key of `REASONS`.
    """

    def __init__(self, model: ModelSpec, denoiser: torch.nn.Module, device: str, *, blocker: str = "") -> None:
        """`blocker`: a reason of the caller's why its blocks cannot be compiled."""
        self._model = model
        self._denoiser = denoiser
        self._blocker = blocker or compile_problem(denoiser, device)
        self._is_asked = model.compile == "on"
        self._may_choose = model.compile == "auto" and device.partition(":")[0] != "cpu"
        self.kernels = usable_kernels(denoiser, device)
        self.kernel = self.kernels[0]
        self.compiled: RegionalCompile | None = None
        self.build: CompiledModule | None = None
        self.problem = ""
        self.start_as_configured()

    @property
    def can_try_compile(self) -> bool:
        """Whether a trial decides if its blocks are compiled."""
        return self._may_choose and not self._blocker

    @property
    def dtype(self) -> torch.dtype:
        return dtype_of(self._denoiser)

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """Only what differs from plain torch, or from what was loaded."""
        has_failed = self.build is not None and self.build.has_failed
        return {
            **({"backend": TORCH, "backend_problem": FAILED_BUILD} if has_failed else {}),
            **({"attention": self.kernel.name} if self.kernel.name != NATIVE else {}),
            **({"compile": True} if self.compiled is not None else {}),
            **({"compile_problem": self.problem} if self.problem else {}),
        }

    @property
    def compile_count(self) -> int:
        """Grows with each call that compiles, which then takes much longer than the next."""
        return self.compiled.count if self.compiled is not None else 0

    # ------------------------------------------------------------ calls

    def run(self, call: Callable[[], T], *, is_plain: bool) -> T:
        """Make a denoiser's call. `is_plain`: without LoRAs and references, whose layers change from call to call, so
        that each change would be compiled again."""
        try:
            return self._run(call, is_plain)
        except Exception as error:
            if not self._give_up(error):
                raise
        return self._run(call, is_plain)

    def _run(self, call: Callable[[], T], is_plain: bool) -> T:
        with self.kernel.active():
            if self.compiled is None:
                return call()
            with self.compiled.switched(is_on=is_plain):
                return call()

    def _give_up(self, error: Exception) -> bool:
        """Whether the call may succeed without what could have failed it."""
        if is_out_of_memory(error):
            return False
        if self.compiled is not None and is_compile_error(error):
            self.stop_compiling(regional_compile.FAILED, str(error))
            return True
        if self.kernel.name == NATIVE:
            return False
        self._log(f"The attention kernel {self.kernel.name} failed: torch's own is used", error=str(error)[:500])
        self.kernel = self.kernels[0]
        return True

    # ------------------------------------------------------------ choices

    def start_as_configured(self) -> None:
        """Compile the blocks if the owner asks for it."""
        if self._is_asked:
            self.start_compiling()

    def start_compiling(self) -> None:
        """Let plain calls run compiled, if that is possible here."""
        if self._blocker:
            self.stop_compiling(self._blocker)
        elif self.compiled is None:
            self.compiled = RegionalCompile(self._denoiser)

    def stop_compiling(self, problem: str = "", detail: str = "") -> None:
        """`problem`: why, as a key of `REASONS`; empty: it is not worth it."""
        if self.compiled is not None:
            self.compiled.remove()
        self.compiled, self.problem = None, problem
        if problem:
            self._blocker = problem
            lines = detail.strip().splitlines() or [""]
            self._log(
                f"The model's blocks run uncompiled: {REASONS[problem]}", **({"error": lines[0]} if detail else {})
            )

    def block_compiling(self, reason: str) -> None:
        """From now on; `reason`: a key of `REASONS`."""
        if self.compiled is not None:
            self.stop_compiling(reason)
        self._blocker = reason

    def load_choices(self, measurements: Iterable[Measurement]) -> None:
        """Use what earlier trials found quickest on this device."""
        found = [one for one in measurements if one.what in (ATTENTION, COMPILE)]
        self.kernel = self.fastest_kernel({one.backend: one.seconds for one in found if one.what == ATTENTION})
        if self.can_try_compile and is_compiling_worth_it(
            {one.backend: one.seconds for one in found if one.what == COMPILE}
        ):
            self.start_compiling()

    def fastest_kernel(self, seconds: Mapping[str, float]) -> AttentionKernel:
        """By the seconds of a pass with each; torch's own where none is clearly quicker."""
        name = fastest(seconds, NATIVE)
        return next((kernel for kernel in self.kernels if kernel.name == name), self.kernels[0])

    def _log(self, message: str, **details: str) -> None:
        child.log("warning", message, model=self._model.name, **details)


def create_execution(
    model: ModelSpec, name: str, pipeline: Any, device: str, opened: OpenedDenoiser
) -> DenoiserExecution:
    """For the pipeline's denoiser of this name."""
    offloader = offloader_of(pipeline)
    is_streamed = offloader is not None and offloader.moves(name)
    blocker = HAS_BACKEND if opened.compiled is not None else STREAMED if is_streamed else ""
    execution = DenoiserExecution(model, getattr(pipeline, name), device, blocker=blocker)
    execution.build = opened.compiled
    return execution


def fastest(seconds: Mapping[str, float], default: str) -> str:
    """The quickest, if it is quicker than the default by `MIN_GAIN`."""
    if default not in seconds:
        return default
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] <= (1 - MIN_GAIN) * seconds[default] else default


def is_compiling_worth_it(seconds: Mapping[str, float]) -> bool:
    return fastest(seconds, UNCOMPILED) == COMPILED
