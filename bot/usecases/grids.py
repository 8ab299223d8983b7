"""Batches as their owners see them, and the sheets of grids: composed once the last cell has ended."""

import asyncio
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import structlog

from bot.jobs import Job, StoredImage
from bot.ports import ImageProcessor, MediaStore, Person
from bot.ports.batches import BatchSheet, BatchStore
from bot.usecases.grid_sheets import SheetDrawing
from bot.usecases.grid_spec import GridPlace, GridSpec
from bot.usecases.jobs import JobUseCases
from bot.usecases.requests import Ticket

log = structlog.get_logger()

LOOK_S = 300.0
"""How often to look for sheets that failed or were missed."""
MAX_TRIES = 3
"""Composing anew because a picture was deleted meanwhile."""


@dataclass(frozen=True, kw_only=True)
class BatchView:
    """A batch as its owner sees it.

    Attributes:
        tickets: of the jobs that are not erased, in their order.
        grid: its axes and cells; None: it is no grid. The job of a deleted cell has no ticket.
        sheets: of an ended grid, one for each value of z that has a picture.
    """

    id: str
    kind: str
    tickets: tuple[Ticket, ...]
    grid: GridSpec | None = None
    sheets: tuple[BatchSheet, ...] = ()

    @property
    def has_ended(self) -> bool:
        return all(ticket.job.state.is_final for ticket in self.tickets)

    def find_ticket(self, cell: GridPlace) -> Ticket | None:
        return next((ticket for ticket in self.tickets if ticket.job.id == cell.job), None)

    def jobs_of_sheet(self, z: int) -> list[Job]:
        """Of its cells that are left."""
        ids = {cell.job for cell in self.grid.cells if cell.z == z} if self.grid is not None else set()
        return [ticket.job for ticket in self.tickets if ticket.job.id in ids]

    def is_spoiler(self, sheet: BatchSheet) -> bool:
        """A sheet takes the strictest verdict of its cells."""
        return any(job.is_spoiler for job in self.jobs_of_sheet(sheet.z))

    def is_adult(self, sheet: BatchSheet) -> bool:
        return any(job.is_adult for job in self.jobs_of_sheet(sheet.z))

    def judged_sheets(self) -> list[StoredImage]:
        """The sheets with the strictest verdicts of their cells, as pictures of a result have them."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class GridUseCases:
    batches: BatchStore
    jobs: JobUseCases
    media: MediaStore
    images: ImageProcessor
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _composing: "WeakValueDictionary[str, asyncio.Lock]" = field(default_factory=WeakValueDictionary)

    async def get_batch(self, owner: str, batch_id: str) -> BatchView:
        """`owner`: the person's id. The sheets of a grid that has ended are composed first, if they are not yet.

        Raises: NotFound, also if it is somebody else's.
        """
        raise NotImplementedError

    async def cancel_batch(self, person: Person, batch_id: str) -> BatchView:
        """Cancel what of it has not ended. Raises: NotFound; NotCancellable: all of it has."""
        raise NotImplementedError

    async def draw_so_far(self, owner: str, batch_id: str) -> list[SheetDrawing]:
        """The sheets of a grid as they are now, with blank cells for what has not ended; nothing is kept.

        Raises: NotFound, EngineError.
        """
        raise NotImplementedError

    def wake(self) -> None:
        """A job has ended, or was deleted."""
        self._news.set()

    async def run_forever(self) -> None:
        """Compose sheets until cancelled; begins with those that the end of the last process prevented."""
        raise NotImplementedError
