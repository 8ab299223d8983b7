"""Whole grids in commands: shown again, and cancelled."""

from collections.abc import Sequence
from contextlib import suppress

from bot.chat import picture_texts, texts
from bot.chat.buttons import offered_buttons
from bot.chat.replies import ChatContext, ChatImage, ChatReply
from bot.errors import NotFound, NotYours
from bot.jobs import Job
from bot.queue.grid_message import GridMessage
from bot.safety import Verdict
from bot.usecases import Ticket
from bot.usecases.grid_names import cell_of


async def find_grid(ctx: ChatContext, name: str) -> GridMessage | None:
    """One of the person's own by its whole id."""
    with suppress(NotFound):
        shown = await ctx.usecases.grid_chat.get(name.strip().casefold())
        return shown if shown.owner == ctx.person.id else None
    return None


async def replied_grid(ctx: ChatContext) -> GridMessage | None:
    """The grid whose message the command replies to."""
    if ctx.replied_job is None or ctx.replied_picture:
        return None
    return await ctx.usecases.grid_chat.find(ctx.replied_job)


async def common_grid(ctx: ChatContext, tickets: list[Ticket]) -> GridMessage | None:
    """The grid that all of these jobs belong to."""
    is_one = bool(tickets) and len({ticket.job.batch for ticket in tickets}) == 1
    return await ctx.usecases.grid_chat.find(tickets[0].job) if is_one else None


async def merge_cells(ctx: ChatContext, tickets: Sequence[Ticket]) -> list[Ticket]:
    """The tickets with one for each grid, in the place of the first of its cells."""
    merged: dict[str, Ticket] = {}
    for ticket in tickets:
        name = ticket.job.batch or "" if cell_of(ticket.job) else ticket.job.id
        if name not in merged:
            shown = await ctx.usecases.grid_chat.find(ticket.job) if name != ticket.job.id else None
            whole = Ticket(job=shown, position=ticket.position, eta_s=ticket.eta_s) if shown is not None else ticket
            merged[name] = whole
    return list(merged.values())


async def show_grid(ctx: ChatContext, shown: GridMessage) -> ChatReply:
    """The sheets again, as far as they may be shown here. Raises: NotYours, Blocked."""
    if shown.owner != ctx.person.id:
        raise NotYours(shown.grid)
    verdict = await ctx.usecases.moderation.require_showable(ctx.origin, shown)
    images = [
        ChatImage(
            media=one,
            alt=picture_texts.alt_of(shown, one.image),
            is_spoiler=verdict is Verdict.SPOILER,
            number=one.image.number,
        )
        for one in await ctx.usecases.grid_chat.read_originals(shown)
    ]
    text = texts.format_result(shown, ctx.locale)
    return ChatReply(text=text, images=tuple(images), buttons=offered_buttons(shown, ctx.usecases.models), job=shown)


async def number_of_cell(ctx: ChatContext, job: Job) -> int:
    """Of a grid's cell with one picture, that picture's number: what replies to it means the cell, not the grid; of
    other jobs 0."""
    is_alone = job.batch is not None and job.result is not None and job.result.places == 1
    return 1 if is_alone and await ctx.usecases.grid_chat.find(job) is not None else 0


async def cancel_grid(ctx: ChatContext, grid_id: str) -> str:
    """What has not ended of it, as a sentence. Raises: NotFound, NotYours, NotCancellable."""
    shown = await ctx.usecases.grid_chat.cancel(ctx.person, grid_id)
    return texts.format_state(Ticket(job=shown), ctx.locale)
