"""What the owner chose, and what a model's files are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bot.models import ModelSpec


class Choices(Protocol):
    """The owner's choice of models, kept in the settings file of the data directory."""

    def choose(self, name: str, table: Mapping[str, Any], tasks: Sequence[str]) -> None:
        """`[models.NAME]` gets these keys, and is the default for `tasks`, which no other model is any more.

        Raises: ConfigError, when the owner's file is damaged; OSError.
        """

    def forget(self, name: str) -> None:
        """The table goes; a preset is one again. Raises like `choose`."""

    def preset(self, name: str) -> ModelSpec | None:
        """What the shipped settings say of the model, if they have it."""

    def on_the_way(self) -> Sequence["OnTheWay"]:
        """The models whose installation a stop broke off."""

    def note_on_the_way(self, name: str, tasks: Sequence[str] | None) -> None:
        """The model's installation began, for these tasks; None: it came to its end."""


@dataclass(frozen=True)
class OnTheWay:
    name: str
    tasks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a folder or file was recognised as.

    Attributes:
        kind: "diffusers", "blip2", "single-file", "lora", "inversion", "classifier" or "unknown".
        class_name: what its index or config names.
        family: "sd15", "sd21", "sdxl", ...; empty when unknown.
        tasks: what it can do, by the Hub's tags.
        size_mb: of its weights, MiB.
        defaults: keys of `ModelSettings` that suit it.
        reason: why it is "unknown", in a few words.
    """

    kind: str
    class_name: str = ""
    family: str = ""
    tasks: tuple[str, ...] = ()
    variant: str = ""
    size_mb: int = 0
    defaults: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Addition:
    """A LoRA ("lora") or textual inversion ("inversion") that is kept. `size` is bytes; `path` is its file."""

    name: str
    kind: str
    family: str
    size: int
    path: str = ""


class ModelFiles(Protocol):
    """Models on this machine's disk. Nothing is loaded to look at them."""

    async def recognise(self, path: Path) -> Kind:
        """Raises: ModelRefused, for what is damaged or could run code."""

    def of_class(self, class_name: str) -> Kind:
        """The same by the name of a class alone, before anything is fetched."""

    async def keep(self, path: Path, kind: Kind, name: str) -> Addition:
        """Copy a LoRA or textual inversion to the data directory. Raises: ModelRefused (there is one), StorageFull."""

    def additions(self) -> list[Addition]: ...

    async def drop(self, name: str) -> int:
        """Delete an addition; returns the bytes freed, 0 when there was none."""

    def cached(self, repo: str, revision: str) -> Path | None:
        """Where a repo's files are in the cache."""
