"""Batches: jobs that were accepted together, and the sheets that the pictures of a grid are composed to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bot.jobs import Job, Media, StoredImage

GRID, PROMPTS = "grid", "prompts"


@dataclass(frozen=True, kw_only=True)
class NewBatch:
    """A batch about to be accepted. `spec`: JSON; of a grid, its axes and its cells (`bot.usecases.grid_spec`)."""

    id: str
    kind: str = PROMPTS
    spec: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BatchSheet:
    """A composed picture. `z`: the place of its value on the third axis."""

    z: int
    image: StoredImage


@dataclass(frozen=True, kw_only=True)
class NewSheet:
    z: int
    media: Media
    width: int
    height: int
    alt: str


@dataclass(frozen=True, kw_only=True)
class BatchRecord:
    """`is_due`: its sheets are not composed yet, or show what is deleted. `jobs`: those that are not erased, in
    their order."""

    id: str
    owner: str
    kind: str
    spec: Mapping[str, Any]
    is_due: bool
    jobs: tuple[Job, ...]
    sheets: tuple[BatchSheet, ...] = ()


class BatchStore(Protocol):
    async def get_batch(self, batch_id: str, owner: str | None) -> BatchRecord:
        """Owner None: of anybody, for internal use. Raises: NotFound: there is none, or all of its jobs are erased."""

    async def list_due(self) -> list[str]:
        """Ids of batches whose sheets are due and whose jobs have all ended."""

    async def save_sheets(
        self, batch_id: str, spec: Mapping[str, Any], pictures: Mapping[str, str], sheets: Sequence[NewSheet]
    ) -> bool:
        """Keep the sheets, which are then no longer due, and announce it to the owner as a change of the last job.

        Args:
            spec: that of the batch when they were composed.
            pictures: by the job's id, the id of its picture that is on a sheet.

        False: one of the pictures or a value of an axis was deleted meanwhile; nothing is kept.
        """
