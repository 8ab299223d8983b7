"""A grid as its chat message shows it: one message for all cells, which belongs to the first of their jobs.

The other cells have no message of their own. The result waits for the last of them (`storage.outbox`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Protocol

from bot.jobs import Job, JobError, JobState, Media, Result

_MADE = frozenset({JobState.RENDERED, JobState.DELIVERED})


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """A cell of a message.

    Attributes:
        name: the letter of its column and the number of its row; where there are several sheets, after the number of
            its sheet: "b2", "1b2".
        title: its values, as in "steps 8, guidance 5".
        z: the place of its sheet, from 0.
    """

    name: str
    title: str
    z: int
    job: Job

    @property
    def is_made(self) -> bool:
        return self.job.state in _MADE and self.job.result is not None and bool(self.job.result.media)


@dataclass(frozen=True, kw_only=True)
class GridMessage(Job):
    """The job that a grid's message belongs to, with the state of the whole grid and its sheets as the result.

    Attributes:
        grid: the id of the batch.
        axes: one line for each axis, as in "steps: 4, 8".
        eta_s: until the last cell has ended; None: unknown.
    """

    grid: str
    axes: tuple[str, ...] = ()
    cells: tuple[GridCell, ...] = ()
    eta_s: float | None = None

    @property
    def is_spoiler(self) -> bool:
        return any(cell.job.is_spoiler for cell in self.cells)

    @property
    def is_adult(self) -> bool:
        return any(cell.job.is_adult for cell in self.cells)

    @property
    def ended(self) -> int:
        return sum(cell.job.state.is_final for cell in self.cells)

    @property
    def lacks_sheets(self) -> bool:
        """It has ended with pictures, which could not be composed yet."""
        return self.state in _MADE and not (self.result and self.result.media)

    @property
    def missing(self) -> Mapping[str, int]:
        """How many cells of the ended grid have no picture, by the sentence that says why."""
        reasons = (cell.job.error.message if cell.job.error else "" for cell in self.cells if not cell.is_made)
        return Counter(reasons)

    def find_cell(self, name: str) -> GridCell | None:
        """By its name, or by its number in the order of the cells, from 1."""
        wanted = name.strip().casefold()
        numbered = enumerate(self.cells, 1)
        return next((cell for number, cell in numbered if wanted in (cell.name, str(number))), None)


def state_of_grid(jobs: list[Job]) -> JobState:
    """Of the jobs together: running from the first that runs to the end of the last."""
    states = {job.state for job in jobs}
    if states == {JobState.QUEUED}:
        return JobState.QUEUED
    if not all(state.is_final for state in states):
        return JobState.RUNNING
    if states & _MADE:
        return JobState.RENDERED
    return JobState.CANCELLED if states == {JobState.CANCELLED} else JobState.FAILED


def as_message(
    lead: Job,
    *,
    grid: str,
    axes: tuple[str, ...],
    cells: tuple[GridCell, ...],
    eta_s: float | None = None,
    result: Result | None = None,
) -> GridMessage:
    """`lead`: the job that the message belongs to. `result`: the sheets, once all cells have ended."""
    state = state_of_grid([cell.job for cell in cells])
    as_grid = {
        "state": state,
        "result": result if state in _MADE else None,
        "error": _error_of(state, cells),
        "cancel_requested": any(cell.job.cancel_requested for cell in cells),
    }
    known = {one.name: getattr(lead, one.name) for one in fields(Job)}
    return GridMessage(**(known | as_grid), grid=grid, axes=axes, cells=cells, eta_s=eta_s)


def _error_of(state: JobState, cells: tuple[GridCell, ...]) -> JobError | None:
    """Why there is no picture at all: what the first cell that failed says."""
    if state is not JobState.FAILED:
        return None
    return next((cell.job.error for cell in cells if cell.job.error), None)


class GridMessages(Protocol):
    """What the outbox worker needs to know of grids."""

    async def find(self, job: Job) -> GridMessage | None:
        """The grid that the job's message shows, as it is now; of an ended grid with its sheets. None: it shows the
        job alone."""

    async def read_sheets(self, shown: GridMessage) -> list[Media]:
        """The sheets of an ended grid that are still stored, in their order."""

    async def draw_preview(self, shown: GridMessage) -> bytes | None:
        """The sheet so far as a small JPEG; None: there is nothing to show yet, or it cannot be shown."""
