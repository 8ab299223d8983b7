"""Grids in chats: what their messages show, and what their buttons do."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from bot.errors import EngineError, MediaNotFound, NotFound, NotYours, UserError
from bot.jobs import Job, Media, Result
from bot.ports import ImageProcessor, MediaStore, Outbox, Person, Privacy
from bot.ports.batches import BatchStore
from bot.queue.grid_message import GridCell, GridMessage, as_message
from bot.usecases.chat import Original
from bot.usecases.grid_names import name_cell, title_cell
from bot.usecases.grids import BatchView, GridUseCases
from bot.usecases.jobs import JobUseCases
from bot.usecases.media import png_size

log = structlog.get_logger()

PREVIEW_WIDTH = 1024
"""Of the sheet while it is filled, pixels."""
PREVIEW_QUALITY = 80


@dataclass(frozen=True, kw_only=True)
class GridChat:
    """`bot.queue.grid_message.GridMessages`. Grids are known to everybody who sees their message; only their owners
    cancel and delete them."""

    grids: GridUseCases
    batches: BatchStore
    jobs: JobUseCases
    media: MediaStore
    images: ImageProcessor
    outbox: Outbox
    privacy: Privacy

    # ------------------------------------------------------------ messages

    async def find(self, job: Job) -> GridMessage | None:
        if job.batch is None:
            return None
        with suppress(NotFound):  # it is erased
            return _to_message(await self.grids.get_batch(job.owner, job.batch), job)
        return None

    async def get(self, grid_id: str) -> GridMessage:
        """For anyone who can see its message. Raises: NotFound: there is none, or it is deleted."""
        record = await self.batches.get_batch(grid_id, None)
        shown = _to_message(await self.grids.get_batch(record.owner, grid_id), None)
        if shown is None:
            raise NotFound("grid", grid_id)
        return shown

    async def read_sheets(self, shown: GridMessage) -> list[Media]:
        return list(await self.read_originals(shown))

    async def read_originals(self, shown: GridMessage) -> list[Original]:
        """The sheets that are still stored, for anyone who can see the message."""
        sheets = []
        for sheet in shown.result.media if shown.result else ():
            with suppress(MediaNotFound):
                file = await self.media.read_media(sheet.id, None)
                sheets.append(Original(file.data, file.media_type, sheet))
        return sheets

    async def draw_preview(self, shown: GridMessage) -> bytes | None:
        """Of several sheets the first that is not complete."""
        try:
            drawn = await self.grids.draw_so_far(shown.owner, shown.grid)
            if not drawn:
                return None
            open_ones = {cell.z for cell in shown.cells if not cell.job.state.is_final}
            sheet = next((one for one in drawn if one.z in open_ones), drawn[-1]).media
            width, height = png_size(sheet.data)
            if width > PREVIEW_WIDTH:
                small = await self.images.resize(sheet, PREVIEW_WIDTH, max(1, height * PREVIEW_WIDTH // width))
                sheet = small.media
            return (await self.images.convert(sheet, "jpeg", PREVIEW_QUALITY)).data
        except (EngineError, UserError) as error:
            log.info("a sheet was not drawn", action="preview_failed", error=str(error))
            return None

    # ------------------------------------------------------------ buttons

    async def cancel(self, person: Person, grid_id: str) -> GridMessage:
        """Cancel what has not ended. A grid that has ended, and whose message still offers this, is delivered again if
        its result was not sent. Raises: NotFound, NotYours, NotCancellable."""
        shown = await self._get_own(person, grid_id)
        if shown.state.is_final:
            await self.outbox.deliver_again(shown.id)
        await self.grids.cancel_batch(person, grid_id)
        return await self.get(grid_id)

    async def delete(self, person: Person, grid_id: str, *, platform: str) -> set[str]:
        """Erase it with all of its pictures; returns its messages on the platform, whose adapter deletes them.

        Raises: NotFound, NotYours.
        """
        shown = await self._get_own(person, grid_id)
        refs: set[str] = set()
        for cell in shown.cells:
            refs.update(await self.outbox.message_refs(cell.job.id, platform))
        ids = [cell.job.id for cell in shown.cells]
        erased = await self.privacy.erase_jobs(ids, person.id, retracts=True, besides=platform)
        self.jobs.on_erased(erased)
        self.jobs.wake()
        return refs

    async def _get_own(self, person: Person, grid_id: str) -> GridMessage:
        shown = await self.get(grid_id)
        if shown.owner != person.id:
            raise NotYours(grid_id)
        return shown


def _to_message(view: BatchView, lead: Job | None) -> GridMessage | None:
    """None: it is no grid. The first cell that is left has the message of one that was erased."""
    spec = view.grid
    if spec is None or not view.tickets:
        return None
    by_id = {ticket.job.id: ticket for ticket in view.tickets}
    cells = tuple(
        GridCell(name=name_cell(spec, one), title=title_cell(spec, one), z=one.z, job=by_id[one.job].job)
        for one in spec.cells
        if one.job in by_id
    )
    found = by_id.get(lead.id) if lead is not None else None
    times = [ticket.eta_s for ticket in view.tickets if ticket.eta_s is not None]
    return as_message(
        (found or view.tickets[0]).job,
        grid=view.id,
        axes=tuple(f"{axis.title}: {', '.join(filter(None, axis.labels))}" for axis in spec.axes),
        cells=cells,
        eta_s=max(times, default=None),
        result=_result_of(view) if view.has_ended else None,
    )


def _result_of(view: BatchView) -> Result:
    """The sheets, and what the cells' results say."""
    results = [ticket.job.result for ticket in view.tickets if ticket.job.result is not None]
    models = dict.fromkeys(one.model for one in results)
    return Result(media=tuple(view.judged_sheets()), model=", ".join(filter(None, models)), notes=_merge_notes(results))


def _merge_notes(results: Sequence[Result]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(note for one in results for note in one.notes))
