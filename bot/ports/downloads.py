"""Fetching models from a hub: what a repo has, and its bytes."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is wanted of a repo `org/name`, as in `ModelSettings`: `revision` (a commit or branch, "": the newest),
    `variant` and `file`."""

    repo: str
    revision: str = ""
    variant: str = ""
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """`size` is bytes; `sha256` is empty where the hub names none. `is_here`: it is in the cache already, whole."""

    path: str
    size: int
    sha256: str = ""
    is_here: bool = False


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What would be fetched for a `Wanted`.

    Attributes:
        commit: 40 hex digits, the commit that will be fetched and recorded.
        licence: what the hub says (its tag, such as "apache-2.0"); empty when it says nothing.
        is_gated: its page asks people to accept something first.
        refused: names of weights that are left out for their format, as long as there are safetensors instead.
        kind: the class that the model's index or config names, such as "StableDiffusionPipeline", or that a whole model
            in one file is of; empty when unknown.
        variant: of the weights that were found, which may be another than wanted.
        cache: the folder the files go to; `free` is how many bytes are free there.
    """

    wanted: Wanted
    commit: str
    files: tuple[HubFile, ...]
    licence: str = ""
    is_gated: bool = False
    refused: tuple[str, ...] = ()
    kind: str = ""
    variant: str = ""
    cache: str = ""
    free: int = 0

    @property
    def total(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)

    @property
    def missing(self) -> int:
        """Bytes that are not here yet."""
        return sum(file.size for file in self.files if not file.is_here)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """How far a fetch is: bytes of all files, of the total; bytes a second of late; seconds left, None: unknown.

    `stage` is "downloading", then "checking" while hashes are compared.
    """

    done: int
    total: int
    rate: float = 0.0
    eta_s: float | None = None
    stage: str = "downloading"


class Downloads(Protocol):
    """The only way to a hub. Hugging Face's own variables are obeyed, and those for proxies."""

    async def look(self, wanted: Wanted) -> Listing:
        """Ask the hub; nothing is fetched but names and sizes. Raises: DownloadFailed."""

    def fetch(self, listing: Listing) -> AsyncGenerator[Transfer, None]:
        """Fetch and verify what is missing; ends when all of it is in the cache and right.

        Closing the iterator stops it; what came already is kept, and the next fetch goes on from there.

        Raises: DownloadFailed, StorageFull.
        """

    async def usage(self) -> dict[str, int]:
        """Bytes on the disk of each repo in the cache."""

    async def remove(self, repo: str) -> int:
        """Delete a repo from the cache; returns the bytes freed, 0 when it was not there."""
