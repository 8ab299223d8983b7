"""What changes in a person's history: jobs, in the order of their changes."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from bot.jobs import Job
from bot.ports.learning import Correction


class ChangeNotice(Protocol):
    """Set after each change, until it is cleared."""

    async def wait(self) -> object: ...

    def set(self) -> None: ...

    def clear(self) -> None: ...


@dataclass(frozen=True)
class PictureMarks:
    """By number, which of a job's pictures are favourites, and the ids of the collections that each of them is in; and
    what the owner says the answer should have been."""

    favourites: frozenset[int] = frozenset()
    collections: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    correction: Correction | None = None


UNMARKED = PictureMarks()


@dataclass(frozen=True, kw_only=True)
class JobChange:
    """The newest change of a job. `number` counts the changes of its owner's jobs. An erased job is empty."""

    number: int
    job: Job
    is_erased: bool = False
    marks: PictureMarks = UNMARKED


class JobChanges(Protocol):
    def watch(self, owner: str) -> AbstractContextManager[ChangeNotice]:
        """A signal that is set whenever a job of the owner has changed, after the commit."""

    async def last_change(self, owner: str) -> int:
        """The number of the newest change; 0: there is none."""

    async def first_resumable(self, owner: str) -> int:
        """Numbers before it are void: accounts were linked since, and one of the two persons counted without the
        other's jobs."""

    async def list_changes(self, owner: str, after: int, limit: int) -> Sequence[JobChange]:
        """The jobs that changed after this number, each once, by the number of its newest change."""

    async def list_open(self, owner: str) -> Sequence[Job]:
        """Jobs that are queued or running, oldest first."""

    async def list_marks(self, owner: str, job_ids: Sequence[str]) -> Mapping[str, PictureMarks]:
        """Of those of these jobs that have any."""
