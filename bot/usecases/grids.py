"""Batches as their owners see them, and the sheets of grids: composed once the last cell has ended."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from weakref import WeakValueDictionary

import structlog

from bot.errors import EaselError, EngineError, JobNotFound, NotCancellable, NotFound
from bot.jobs import Job, Media, StoredImage
from bot.ports import ImageProcessor, MediaStore, Person
from bot.ports.batches import GRID, BatchRecord, BatchSheet, BatchStore, NewSheet
from bot.usecases.grid_sheets import SheetDrawing, draw_sheets
from bot.usecases.grid_spec import GridPlace, GridSpec, read_spec
from bot.usecases.jobs import JobUseCases
from bot.usecases.requests import Ticket
from bot.usecases.thumbnails import WIDTHS, Thumbnails

log = structlog.get_logger()

SMALL_PIXELS = 1_000_000
"""Of the pictures of a sheet that is still being filled."""
LOOK_S = 300.0
"""How often to look for sheets that failed or were missed."""
MAX_SHEET_BYTES = 8_000_000
"""Of a sheet as PNG: chats accept little more, and pages load it."""
JPEG_QUALITIES = (92, 80)
"""Of larger ones, until one fits."""
RETRY_S = 60.0
"""How long after a failure a sheet is not composed again."""
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

    def judged_sheets(self) -> list[StoredImage]:
        """The sheets with the strictest verdicts of their cells, as pictures of a result have them."""
        return [_judge(sheet.image, self.jobs_of_sheet(sheet.z)) for sheet in self.sheets]


def _judge(image: StoredImage, jobs: list[Job]) -> StoredImage:
    pictures = [one for job in jobs if job.result is not None for one in job.result.media]
    return replace(
        image,
        is_spoiler=any(job.is_spoiler for job in jobs),
        is_adult=any(one.is_adult for one in pictures),
        is_unchecked=any(one.is_unchecked for one in pictures),
    )


@dataclass(frozen=True, kw_only=True)
class GridUseCases:
    batches: BatchStore
    jobs: JobUseCases
    media: MediaStore
    images: ImageProcessor
    thumbnails: Thumbnails
    clock: Callable[[], float] = time.monotonic
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _composing: "WeakValueDictionary[str, asyncio.Lock]" = field(default_factory=WeakValueDictionary)
    _failed_at: dict[str, float] = field(default_factory=dict)
    """By batch, on the clock."""

    async def get_batch(self, owner: str, batch_id: str) -> BatchView:
        """`owner`: the person's id. The sheets of a grid that has ended are composed first, if they are not yet.

        Raises: NotFound, also if it is somebody else's.
        """
        record = await self.batches.get_batch(batch_id, owner)
        if _is_ready(record):
            await self._compose(batch_id)
            record = await self.batches.get_batch(batch_id, owner)
        tickets = [await self.jobs.ticket_for(job) for job in record.jobs]
        return BatchView(
            id=record.id,
            kind=record.kind,
            tickets=tuple(await self.jobs.mark_tickets(owner, tickets)),
            grid=read_spec(record.spec) if record.kind == GRID else None,
            sheets=record.sheets,
        )

    async def cancel_batch(self, person: Person, batch_id: str) -> BatchView:
        """Cancel what of it has not ended. Raises: NotFound; NotCancellable: all of it has."""
        record = await self.batches.get_batch(batch_id, person.id)
        ended: NotCancellable | None = None
        cancelled = 0
        for job in reversed(record.jobs):  # the last first: none of them begins meanwhile
            try:
                await self.jobs.cancel_job(person, job.id)
                cancelled += 1
            except NotCancellable as error:
                ended = error
            except JobNotFound:  # erased meanwhile
                continue
        if ended is not None and not cancelled:
            raise ended
        return await self.get_batch(person.id, batch_id)

    async def draw_so_far(self, owner: str, batch_id: str) -> list[SheetDrawing]:
        """The sheets of a grid as they are now, small, with blank cells for what has not ended; nothing is kept.

        Raises: NotFound, EngineError.
        """
        record = await self.batches.get_batch(batch_id, owner)
        if record.kind != GRID:
            raise NotFound("batch", batch_id)
        return await draw_sheets(record, partial(self._read_small, owner), self.images, max_pixels=SMALL_PIXELS)

    async def _read(self, picture: StoredImage, width: int, height: int) -> Media:
        """Scaled down here, so that few large pictures are in memory together."""
        file = await self.media.read_media(picture.id, None)
        is_drawn_small = width < picture.width or height < picture.height
        return (await self.images.resize(file, width, height)).media if is_drawn_small else file

    async def _read_small(self, owner: str, picture: StoredImage, width: int, height: int) -> Media:
        """A thumbnail where one is large enough: a sheet that is filled is drawn again with each cell."""
        wide_enough = next((one for one in WIDTHS if width <= one < picture.width), None)
        if wide_enough is None:
            return await self._read(picture, width, height)
        return await self.thumbnails.read(owner, picture, wide_enough)

    # ------------------------------------------------------------ composing

    def wake(self) -> None:
        """A job has ended, or was deleted."""
        self._news.set()

    async def run_forever(self) -> None:
        """Compose sheets until cancelled; begins with those that the end of the last process prevented."""
        while True:
            self._news.clear()
            try:
                for batch_id in await self.batches.list_due():
                    await self._compose(batch_id)
            except Exception as error:  # the loop must go on
                log.warning("sheets wait", action="sheets_wait", exc_info=error)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()

    async def _compose(self, batch_id: str) -> None:
        """Unless somebody else just did, or it failed a moment ago."""
        async with self._composing.setdefault(batch_id, asyncio.Lock()):
            if self.clock() - self._failed_at.get(batch_id, -RETRY_S) < RETRY_S:
                return
            try:
                await self._try_composing(batch_id)
                self._failed_at.pop(batch_id, None)
            except NotFound:  # erased meanwhile
                self._failed_at.pop(batch_id, None)
            except EaselError as error:
                self._failed_at[batch_id] = self.clock()
                log.warning("a sheet was not composed", action="sheet_failed", batch=batch_id, error=str(error))

    async def _try_composing(self, batch_id: str) -> None:
        """Raises: EaselError."""
        for _ in range(MAX_TRIES):
            record = await self.batches.get_batch(batch_id, None)
            if not _is_ready(record):
                return
            drawn = [await self._compress(one) for one in await draw_sheets(record, self._read, self.images)]
            pictures = {job_id: media_id for one in drawn for job_id, media_id in one.pictures.items()}
            if await self.batches.save_sheets(batch_id, record.spec, pictures, [_to_new(one) for one in drawn]):
                return
        raise EngineError("pictures of the grid were deleted again and again")

    async def _compress(self, drawn: SheetDrawing) -> SheetDrawing:
        """As JPEG, with its metadata, if it is too large as PNG. Raises: EngineError."""
        media = drawn.media
        for quality in JPEG_QUALITIES:
            if len(media.data) > MAX_SHEET_BYTES:
                media = await self.images.convert(drawn.media, "jpeg", quality)
        return replace(drawn, media=media)


def _is_ready(record: BatchRecord) -> bool:
    return record.kind == GRID and record.is_due and all(job.state.is_final for job in record.jobs)


def _to_new(drawn: SheetDrawing) -> NewSheet:
    return NewSheet(z=drawn.z, media=drawn.media, width=drawn.width, height=drawn.height, alt=drawn.alt)
