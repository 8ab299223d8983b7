"""Compiled denoisers with sets of LoRAs fused into them, beside the compiled one without.

The server makes their builds for the sets that are used most (bot/usecases/fused_builds.py); here they are opened when
an image asks for such a set and there is memory for one more denoiser. Every other set runs on torch, with its LoRAs.
"""

import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from bot.models import ModelSpec
from bot.ports import LoraSet
from inference.backends.builds import find_build
from inference.backends.compiled_module import CompiledModule
from inference.diffusion.execution.compiled_denoiser import FoundDenoiser, open_graph
from inference.ipc import child
from inference.memory.planner import free_ram_mb

MAX_OPEN = 2
RECHECK_S = 30.0
"""Time after which a set that had no build is looked for again."""
MAX_CHECKED = 256
"""Sets whose last search is remembered."""
SPARE_MB = 1024
"""Left free in RAM."""
Stamp = tuple[tuple[int, int], ...]


class FusedDenoisers:
    """Of one loaded model. `base`: its compiled denoiser without LoRAs from prompts."""

    def __init__(
        self,
        model: ModelSpec,
        found: FoundDenoiser,
        base: CompiledModule,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._found = found
        self._base = base
        self._clock = clock
        self._opened: OrderedDict[LoraSet, CompiledModule] = OrderedDict()
        """Least recently used first."""
        self._stamps: dict[LoraSet, Stamp] = {}
        self._checked_at: dict[LoraSet, float] = {}

    def get(self, loras: LoraSet) -> CompiledModule | None:
        """What computes images with exactly this set; None: torch does."""
        return self._opened.get(loras)

    def prepare(self, loras: LoraSet, in_use: frozenset[LoraSet]) -> None:
        """Open the build of a set that an image is about to use, if there is one. `in_use`: stay open."""
        if loras in self._opened:
            if _stamp(loras) == self._stamps[loras]:
                self._opened.move_to_end(loras)
                return
            self._close(loras)  # a file was replaced
        now = self._clock()
        if not loras or now - self._checked_at.get(loras, -RECHECK_S) < RECHECK_S:
            return
        if len(self._checked_at) >= MAX_CHECKED:
            self._checked_at.clear()
        self._checked_at[loras] = now
        stamp = _stamp(loras)  # before the build is found: what is replaced meanwhile is another set
        build = find_build(self._model, self._found.precision, loras)
        if build is not None and self._make_room(build, in_use):
            self._open(loras, build, stamp)

    def close(self) -> None:
        for loras in list(self._opened):
            self._close(loras)

    def _close(self, loras: LoraSet) -> None:
        self._opened.pop(loras).close()
        self._checked_at.pop(loras, None)
        self._stamps.pop(loras, None)

    def _make_room(self, build: Path, in_use: frozenset[LoraSet]) -> bool:
        """Close those that are not in use until there is room for one more; False: there is none."""
        size_mb = sum(path.stat().st_size for path in build.rglob("*") if path.is_file()) // 2**20
        needed_mb = SPARE_MB + size_mb + self._base.released_mb  # which loading the LoRAs for text encoders restores
        while len(self._opened) >= MAX_OPEN or free_ram_mb() < needed_mb:
            unused = next((loras for loras in self._opened if loras not in in_use), None)
            if unused is None:
                return False
            self._close(unused)
        return True

    def _open(self, loras: LoraSet, build: Path, stamp: Stamp) -> None:
        try:
            graph = open_graph(self._found, build)
        except Exception as error:  # the libraries raise many types for a damaged file
            name, detail = self._model.name, str(error)[:500]
            child.log("warning", "A build with LoRAs cannot be opened: torch serves them", model=name, error=detail)
            self._checked_at[loras] = math.inf
            return
        self._stamps[loras] = stamp
        self._opened[loras] = self._base.with_graph(graph)
        child.log("info", "Images with a set of LoRAs run compiled", model=self._model.name)


def _stamp(loras: LoraSet) -> Stamp:
    """When the files of a set were changed, and their sizes; (-1, 0): it is gone."""
    return tuple(_stamp_file(path) for path, _ in loras)


def _stamp_file(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (-1, 0)
    return (found.st_mtime_ns, found.st_size)
