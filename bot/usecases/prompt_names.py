"""The names that a prompt may use, to complete what somebody types: styles, LoRAs, textual inversions, wildcards.

They are read in the text worker's thread, and only so many: what takes longer than `READING_S` is read at the next
request.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bot.model_install.addon_metadata import AddonMetadata, find_sources, read_addon_metadata
from bot.models import IMAGE_TASKS, ModelRegistry
from bot.ports import PromptAddon
from bot.prompts.addon_names import fold_name
from bot.prompts.resolver import PromptResolver, fits_model
from bot.prompts.styles import StyleSettings
from bot.prompts.wildcards import WildcardSummary

MAX_NAMES = 1000
"""Of one answer."""
READING_S = 1.0
"""How long one request reads files that it has not read before."""
LISTING_VALID_S = 2.0
"""How long the list of LoRAs is used: each is described in a file."""
_MAX_KNOWN = 10_000


@dataclass(frozen=True)
class NamedStyle:
    """`models`: those that use all of it; others have no negative prompt."""

    name: str
    style: StyleSettings
    models: Sequence[str]


@dataclass(frozen=True)
class NamedAddon:
    """`models`: those that it was made for, as far as is known. `metadata`: None while it is not read yet."""

    addon: PromptAddon
    models: Sequence[str]
    metadata: AddonMetadata | None

    @property
    def weight(self) -> float:
        return self.metadata.weight if self.metadata is not None and self.metadata.weight is not None else 1.0

    @property
    def trigger_words(self) -> tuple[str, ...]:
        return self.addon.trigger_words or (self.metadata.trigger_words if self.metadata is not None else ())

    @property
    def title(self) -> str:
        """Its author's, else that of its file, else its name."""
        said = self.metadata.title if self.metadata is not None else ""
        return said or next(iter(self.addon.spellings), self.addon.name)


@dataclass(frozen=True)
class NamedWildcard:
    """`summary`: None while it is not read yet."""

    name: str
    summary: WildcardSummary | None


@dataclass
class PromptNames:
    """`words`: only names that contain them; `owner`: who asks. Each method answers with the names, and how many there
    are in all. All raise QueueFull."""

    resolver: PromptResolver
    models: ModelRegistry
    clock: Callable[[], float] = time.monotonic
    _addons: Sequence[PromptAddon] = ()
    _listed_until: float = -math.inf
    _metadata: dict[str, tuple[Sequence[int], AddonMetadata]] = field(default_factory=dict)

    def list_styles(self, words: str = "") -> tuple[list[NamedStyle], int]:
        """They are in memory."""
        found = {name: style for name, style in self.resolver.styles.items() if _matches(words, name)}
        models = [spec for spec in self.models if IMAGE_TASKS & set(spec.tasks)]
        named = [
            NamedStyle(name, style, [spec.name for spec in models if spec.takes_negative or not style.negative])
            for name, style in found.items()
        ]
        return named[:MAX_NAMES], len(named)

    async def list_addons(self, owner: str, words: str = "") -> tuple[list[NamedAddon], int]:
        found: list[PromptAddon] = []

        def read() -> Iterator[NamedAddon]:
            found.extend(one for one in self._list_addons() if _matches(words, one.name, *one.spellings))
            until = self.clock() + READING_S
            for addon in found[:MAX_NAMES]:
                fitting = [
                    spec.name for spec in self.models if IMAGE_TASKS & set(spec.tasks) and fits_model(addon, spec)
                ]
                yield NamedAddon(addon, fitting, self._read_metadata(addon, until))

        named = await self.resolver.worker.collect(read(), owner=owner)
        return named, len(found)

    def _list_addons(self) -> Sequence[PromptAddon]:
        if self.clock() >= self._listed_until:
            self._addons = self.resolver.list_addons()
            self._listed_until = self.clock() + LISTING_VALID_S
        return self._addons

    def _read_metadata(self, addon: PromptAddon, until: float) -> AddonMetadata | None:
        sources = find_sources(Path(addon.path)) if addon.path else []
        version = [_changed_at(path) for path in sources]
        known = self._metadata.get(addon.path)
        if known is not None and known[0] == version:
            return known[1]
        if self.clock() > until:
            return None
        metadata = read_addon_metadata(Path(addon.path)) if addon.path else AddonMetadata()
        if len(self._metadata) >= _MAX_KNOWN:
            self._metadata.clear()
        self._metadata[addon.path] = (version, metadata)
        return metadata

    async def list_wildcards(self, owner: str, words: str = "") -> tuple[list[NamedWildcard], int]:
        found: list[str] = []
        wildcards = self.resolver.wildcards

        def read() -> Iterator[NamedWildcard]:
            found.extend(name for name in wildcards.list_names() if _matches(words, name))
            until = self.clock() + READING_S
            for name in found[:MAX_NAMES]:
                is_read = wildcards.is_described(name) or self.clock() <= until
                yield NamedWildcard(name, wildcards.describe(name) if is_read else None)

        return await self.resolver.worker.collect(read(), owner=owner), len(found)


def _matches(words: str, *names: str) -> bool:
    folded = fold_name(words)
    return not folded or any(folded in fold_name(name) for name in names)


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
