"""Downloads from model hubs: repo listings and files."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class RepoRef:
    """A repo `org/name` with the `revision` (a commit or branch; "": the default branch), `variant` and `file` to use,
    as in `ModelSettings`.

    `without_denoiser`: the weights of its denoiser are not needed. `is_kernel`: it is compiled code, which the owner
    allowed, and not a model. `is_lora`: a model's table names it among its `loras`.
    """

    repo: str
    revision: str = ""
    variant: str = ""
    file: str = ""
    without_denoiser: bool = False
    is_kernel: bool = False
    is_lora: bool = field(default=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """`size` is in bytes; `sha256` is empty if the hub gives none. `is_cached`: the complete file is in the cache."""

    path: str
    size: int
    sha256: str = ""
    is_cached: bool = False


@dataclass(frozen=True, kw_only=True)
class RepoListing:
    """The files that would be downloaded for a `RepoRef`.

    Attributes:
        commit: 40 hex digits; the commit that will be downloaded and recorded.
        licence: the hub's licence tag, such as "apache-2.0"; empty if it has none.
        is_gated: people have to accept terms on the repo's page first.
        rejected_files: weights that are skipped because of their format; there are safetensors instead.
        class_name: named by the model's index or config, such as "StableDiffusionPipeline", or identified from a
            single-file model; empty if unknown.
        prequantized: "svdquant" if its denoiser's files are; `precision`: "int4" or "nvfp4".
        base_model: of a `.gguf` file: the repo with its other components; empty if unknown.
        variant: of the weights found; may differ from the requested one.
        cache: the folder that the files are stored in; it has `free_bytes` of free space.
    """

    ref: RepoRef
    commit: str
    files: tuple[HubFile, ...]
    licence: str = ""
    is_gated: bool = False
    rejected_files: tuple[str, ...] = ()
    class_name: str = ""
    base_model: str = ""
    prequantized: str = ""
    precision: str = ""
    variant: str = ""
    cache: str = ""
    free_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """Size of all files, bytes."""
        return sum(file.size for file in self.files)

    @property
    def missing_bytes(self) -> int:
        """Bytes that are not in the cache yet."""
        return sum(file.size for file in self.files if not file.is_cached)


@dataclass(frozen=True, kw_only=True)
class DownloadProgress:
    """Progress of a download over all its files: bytes `done` of `total`, recent `rate` in bytes per second, and
    `eta_s` seconds left (None: unknown).

    `stage` is "downloading", then "checking" while hashes are compared.
    """

    done: int
    total: int
    rate: float = 0.0
    eta_s: float | None = None
    stage: str = "downloading"


@dataclass(frozen=True, kw_only=True)
class CivitaiRef:
    """A model at Civitai and one of its versions; 0: the newest version, or the model of `version_id`.

    `file`: the name of the wanted file; empty: the version's main one. `file_fields`: what a download link says about
    it instead, such as ("fp", "fp16").
    """

    model_id: int = 0
    version_id: int = 0
    file: str = ""
    file_fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class CivitaiFile:
    """One file of a version at Civitai.

    Attributes:
        title: of the model and its version.
        page: its address.
        file: its name.
        url: where it is downloaded.
        size: bytes.
        sha256: 64 hex digits.
        trigger_words: words that its author recommends for prompts.
    """

    title: str
    page: str
    file: str
    url: str
    size: int
    sha256: str
    trigger_words: tuple[str, ...] = ()


class Downloads(Protocol):
    """The only access to a hub. It obeys Hugging Face's own environment variables and the proxy variables."""

    async def inspect_repo(self, ref: RepoRef) -> RepoListing:
        """List names and sizes without downloading any files. Raises: DownloadFailed."""

    def download(self, listing: RepoListing) -> AsyncGenerator[DownloadProgress, None]:
        """Download and verify the missing files; ends when all of them are in the cache and verified.

        Closing the iterator stops the download. Partial files are kept, and the next download resumes them.

        Raises: DownloadFailed, StorageFull.
        """

    async def disk_usage(self) -> dict[str, int]:
        """Size of each repo in the cache, bytes."""

    async def delete_repo(self, repo: str) -> int:
        """Delete a repo from the cache; returns the bytes freed, 0 if it was not cached."""

    def civitai_ref(self, source: str) -> CivitaiRef | None:
        """The model that a link names; None if it is no link to Civitai. Raises: ModelRefused: it names no model."""

    async def inspect_civitai(self, ref: CivitaiRef) -> CivitaiFile:
        """Find the file to download. Raises: DownloadFailed."""

    async def download_civitai(self, file: CivitaiFile, folder: Path) -> Path:
        """Download and verify it into `folder`; an interrupted one is resumed. Raises: DownloadFailed, StorageFull."""
