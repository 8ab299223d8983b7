"""The owner's model settings, and model files on this machine."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from bot.models import ModelSpec


class OwnerModelConfig(Protocol):
    """The `[models.NAME]` tables in the owner's settings file."""

    def enable_model(
        self, name: str, table: Mapping[str, Any], tasks: Sequence[str], *, replaced_demos: Collection[str] = ()
    ) -> None:
        """Set these keys of `[models.NAME]` and make the model the only default for `tasks`.

        `replaced_demos`: models that are then the default for no related task either.

        Raises: ConfigError: the owner's file is damaged; OSError.
        """

    def set_model(self, name: str, table: Mapping[str, Any]) -> None:
        """Set these keys of `[models.NAME]`. Raises like `enable_model`."""

    def remove_model(self, name: str) -> None:
        """Delete the table; a preset reverts to its shipped settings. Raises like `enable_model`."""

    def shipped_preset(self, name: str) -> ModelSpec | None:
        """The model's shipped settings, if it has any."""

    def pending_installs(self) -> Sequence["PendingInstall"]:
        """Installations that a restart interrupted."""

    def set_pending_install(
        self, name: str, tasks: Sequence[str] | None, settings: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """Record that an installation for these tasks, with these settings, has begun; None: that it has ended."""


@dataclass(frozen=True)
class PendingInstall:
    """`settings`: number formats of the model that its owner asked for."""

    name: str
    tasks: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """The result of identifying a folder or file.

    Attributes:
        kind: "diffusers", "blip2", "chat", "single-file", "gguf", "map", "segmenter", "upscaler", "control", "lora",
            "inversion", "classifier" or "unknown".
        class_name: from its index or config.
        family: "sd15", "sd21", "sdxl", ...; empty if unknown.
        tasks: the Hub's tags of the tasks that it supports.
        size_mb: size of its weights, MiB.
        defaults: suitable values for keys of `ModelSettings`.
        reason: why it is "unknown", in a few words; why a LoRA cannot be used, as the end of "it ...".
        prequantized: "gguf" or "svdquant", if its denoiser's files are quantized; else "".
        spellings: names of a textual inversion inside its file.
    """

    kind: str
    class_name: str = ""
    family: str = ""
    tasks: tuple[str, ...] = ()
    variant: str = ""
    size_mb: int = 0
    defaults: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    prequantized: str = ""
    spellings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PromptAddon:
    """An installed LoRA ("lora") or textual inversion ("inversion").

    Attributes:
        size: of its file, bytes.
        path: its file.
        spellings: other names that prompts may use: its file's original name, the token of a textual inversion.
        trigger_words: words that its author recommends for prompts.
    """

    name: str
    kind: str
    family: str
    size: int
    path: str = ""
    spellings: tuple[str, ...] = ()
    trigger_words: tuple[str, ...] = ()


class ModelFiles(Protocol):
    """Model files on this machine. Inspecting them loads no weights."""

    async def identify(self, path: Path) -> CheckpointInfo:
        """Raises: ModelRefused: the file is damaged or could run code."""

    def identify_class(self, class_name: str) -> CheckpointInfo:
        """The same from a class name alone, before anything is downloaded."""

    async def convert_weights(self, path: Path) -> Path:
        """Copy an upscaler's `.pth` file to `download_dir` as safetensors; the file is read in a confined process.

        Raises: ModelRefused: it holds more than plain weights, or is no upscaler; StorageFull.
        """

    async def store_addon(self, path: Path, addon: PromptAddon, *, in_place: bool = False) -> PromptAddon:
        """Copy a LoRA's or textual inversion's file to the data directory; `in_place`: only record where it is.

        Raises: ModelRefused: the name is taken; StorageFull.
        """

    def list_addons(self) -> list[PromptAddon]: ...

    async def has_addon(self, name: str) -> bool:
        """Whether there is one of this stored name, with its file."""

    async def delete_addon(self, name: str) -> int | None:
        """Delete an add-on; returns the bytes freed, None if there was none."""

    def download_dir(self) -> Path:
        """Where files that belong to no hub's cache are downloaded."""

    async def delete_download(self, path: Path) -> int:
        """Delete a file in `download_dir`; returns the bytes freed, 0 for a file elsewhere."""

    def read_prequantized(self, model: ModelSpec) -> tuple[str, str]:
        """Method and precision in which the files of a local model's denoiser are quantized; empty: they are not.
        Blocking.
        """

    def cached_path(self, repo: str, revision: str) -> Path | None:
        """The folder of a cached repo; None: it is not cached."""
