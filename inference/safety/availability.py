"""The parent's part of the safety check: whether a classifier of adult content is installed. Imports no torch."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence

from bot.models import ModelSpec
from inference.checkpoints.resolve import is_installed

RECHECK_S = 5.0


class ClassifierAvailability:
    """Implements `bot.ports.ClassifierStatus`; looks at the disk again after `RECHECK_S`."""

    def __init__(self, classifiers: Sequence[ModelSpec], clock: Callable[[], float] = time.monotonic) -> None:
        self._classifiers = tuple(classifiers)
        self._clock = clock
        self._last_check = (-math.inf, False)

    async def is_installed(self) -> bool:
        checked_at, is_here = self._last_check
        if self._clock() - checked_at > RECHECK_S:
            is_here = await asyncio.to_thread(lambda: any(is_installed(spec) for spec in self._classifiers))
            self._last_check = (self._clock(), is_here)
        return is_here
