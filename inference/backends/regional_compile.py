"""torch.compile for the repeated blocks of a denoiser, which run compiled or not, call by call.

Diffusers' classes name the blocks that repeat: one compilation serves all of a kind, so it takes seconds rather than
minutes. What is around them (convolutions, the residuals of controls) stays as it is, and so do the module's class,
weights and signature.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
import torch._dynamo

from inference.backends.builds import builds_dir
from inference.backends.compilers import has_compiler

COMPILER = "inductor"
"""Torch's name of what compiles the graphs."""
CACHE_FOLDER = "torch"
"""In the folder of builds: what torch.compile has made, which the next process reads."""
MAX_RECOMPILES = 16
"""Compilations of one kind of block, by its widths and by what LoRAs and references have added to it. After that, its
further forms run uncompiled."""
NO_BLOCKS, NO_COMPILER, NO_TRITON = "no_blocks", "no_compiler", "no_triton"
NOT_HERE, STREAMED, HAS_BACKEND, FAILED = "not_here", "streamed", "has_backend", "failed"
REASONS = {
    NO_BLOCKS: "Diffusers names no repeated blocks of its denoiser",
    NO_COMPILER: "torch.compile needs a C++ compiler: install g++ (or name yours in the variable CXX)",
    NO_TRITON: "torch.compile needs Triton on this device: install the package triton",
    NOT_HERE: "torch.compile is not used on this device",
    STREAMED: "the blocks of its denoiser are moved to the device one by one",
    HAS_BACKEND: "its backend computes its steps",
    FAILED: "torch.compile failed",
}
"""Why a model's blocks run uncompiled, for the log."""


def compile_problem(module: Any, device: str) -> str:
    """Why torch.compile cannot serve this module here, as a key of `REASONS`; empty: it can."""
    if not repeated_blocks(module):
        return NO_BLOCKS
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        return NOT_HERE
    if kind == "cuda" and find_spec("triton") is None:
        return NO_TRITON
    return "" if has_compiler(cpp=kind == "cpu") else NO_COMPILER


def repeated_blocks(module: Any) -> list[torch.nn.Module]:
    """The parts of a denoiser whose classes Diffusers lists as repeated."""
    names = getattr(module, "_repeated_blocks", None) or ()
    return [part for part in module.modules() if type(part).__name__ in names] if names else []


class RegionalCompile:
    """The compiled blocks of one module. Compiling happens in the first calls of each form of input."""

    def __init__(self, module: torch.nn.Module) -> None:
        _keep_cache()
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MAX_RECOMPILES)
        self._blocks = repeated_blocks(module)
        self.count = 0
        """Graphs compiled so far."""
        for block in self._blocks:
            block.compile(backend=self._compile_graph, dynamic=True)

    def _compile_graph(self, graph: Any, inputs: Any) -> Any:
        self.count += 1
        return torch._dynamo.lookup_backend(COMPILER)(graph, inputs)

    @contextmanager
    def switched(self, *, is_on: bool) -> Iterator[None]:
        """Calls in the block run compiled, or as without torch.compile."""
        if is_on:
            yield
            return
        with torch.compiler.set_stance("force_eager"):
            yield

    def remove(self) -> None:
        """Let the blocks run uncompiled from now on."""
        for block in self._blocks:
            block._compiled_call_impl = None
        self._blocks = []


def is_compile_error(error: BaseException) -> bool:
    """Whether torch.compile itself failed, not the call."""
    chain = [error, error.__cause__, error.__context__]
    sources = ("torch._dynamo", "torch._inductor", "torch._functorch", "triton")
    return any(one is not None and type(one).__module__.startswith(sources) for one in chain)


def _keep_cache() -> None:
    """Let Inductor keep its cache with the builds, unless the owner has named a folder; it compiles in this process."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(builds_dir() / CACHE_FOLDER))
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
