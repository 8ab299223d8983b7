"""Decides which sets of LoRAs are compiled into builds of their own: those that a model's images use most. Pure."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field

MIN_IMAGES = 20.0
"""Recent images with a set that make its build worth the minutes and the disk that it takes."""
HALF_LIFE_S = 24 * 3600.0
"""Time after which an image counts half."""
MAX_BUILDS = 2
"""Of each model; each is as large as the denoiser, on the disk and in memory."""
MIN_LEAD = 2.0
"""A set takes the place of another's build only if it is used this many times as much."""
MAX_SETS = 1000
"""Whose use is remembered: anybody can ask for ever new weights."""


@dataclass
class _Use:
    """`images`: recent ones, as they counted at `used_at`."""

    images: float = 0.0
    used_at: float = -math.inf

    def recent(self, now: float) -> float:
        return self.images * 0.5 ** max(0.0, (now - self.used_at) / HALF_LIFE_S) if self.images else 0.0


@dataclass
class FusedSets:
    """Of one model. Sets are named as `bot.ports.describe_loras` does. Times are seconds of any clock."""

    max_builds: int = MAX_BUILDS
    _uses: dict[str, _Use] = field(default_factory=dict)
    _refused: set[str] = field(default_factory=set)

    def record_image(self, loras: str, now: float) -> None:
        """One more image was made with this set."""
        use = self._uses.setdefault(loras, _Use())
        use.images, use.used_at = use.recent(now) + 1, now
        if len(self._uses) > MAX_SETS:
            self.forget(min(self._uses, key=lambda one: (self._recent(one, now), self._used_at(one))))

    def forget(self, loras: str) -> None:
        """Its files were replaced, so that it is another set now."""
        self._uses.pop(loras, None)
        self._refused.discard(loras)

    def is_known(self, loras: str) -> bool:
        return loras in self._uses

    def refuse(self, loras: str) -> None:
        """Its build failed, or changes images: it is not tried again."""
        self._refused.add(loras)

    def next_build(self, built: Collection[str], now: float) -> str | None:
        """The set to compile next; None: no other is used enough."""
        wanted = [loras for loras in self._uses if loras not in built and loras not in self._refused]
        best = max(wanted, key=lambda loras: self._recent(loras, now), default=None)
        if best is None or self._recent(best, now) < MIN_IMAGES:
            return None
        if len(built) < self.max_builds:
            return best
        least = min(self._recent(loras, now) for loras in built)
        return best if self._recent(best, now) >= MIN_LEAD * least else None

    def surplus(self, built: Collection[str], now: float) -> list[str]:
        """The sets whose builds are to be removed: beyond `max_builds`, those used least; of equals the oldest."""
        by_use = sorted(built, key=lambda loras: (self._recent(loras, now), self._used_at(loras)))
        return by_use[: max(0, len(by_use) - self.max_builds)]

    def _recent(self, loras: str, now: float) -> float:
        use = self._uses.get(loras)
        return use.recent(now) if use is not None else 0.0

    def _used_at(self, loras: str) -> float:
        use = self._uses.get(loras)
        return use.used_at if use is not None else -math.inf
