"""What the buttons under a grid's message do, and replies to it that name one of its pictures.

The message belongs to one of the cells' jobs, and shows all of them (`bot.queue.grid_message`).
"""

import re
from dataclasses import dataclass

from bot.chat import texts
from bot.chat.buttons import Button
from bot.chat.grid_texts import NO_CELL, WHICH_CELL, format_cell
from bot.chat.job_commands import show_picture
from bot.chat.replies import ChatContext, ChatReply
from bot.errors import ImageGone, InvalidOption
from bot.jobs import Job
from bot.ports import Person
from bot.queue.grid_message import GridCell, GridMessage
from bot.safety import Verdict
from bot.usecases import UseCases
from bot.usecases.chat import Original

PLACE = re.compile(r"\s*#?(\d{0,3}[a-z]{1,2}\d{1,3}|\d{1,3})(?![\w'])[\s:,.]*(.*)", re.DOTALL | re.IGNORECASE)
"""The place of a cell, or its number, and what follows it."""


@dataclass(frozen=True)
class GridReply:
    """What a reply to a grid's message means: a picture and the rest of the text, or a sentence that asks for one."""

    cell: GridCell | None = None
    text: str = ""
    sentence: str = ""


async def grid_of_message(usecases: UseCases, platform: str, message_ref: str) -> GridMessage | None:
    """The grid that a message shows; None: it shows something else."""
    job = await usecases.chat.job_of_message(platform, message_ref) if message_ref else None
    if job is None or job.batch is None or await usecases.chat.picture_of_message(platform, message_ref):
        return None
    return await usecases.grid_chat.find(job)


async def refuse_grid(usecases: UseCases, platform: str, message_ref: str, job: Job | None) -> None:
    """Where one picture is needed. Raises: InvalidOption: the message shows a grid."""
    shown = await grid_of_message(usecases, platform, message_ref) if job is not None and job.batch else None
    if shown is not None:
        raise InvalidOption("image", "which_cell", value=shown.cells[-1].name)


async def read_reply(usecases: UseCases, platform: str, message_ref: str, text: str, locale: str) -> GridReply | None:
    """None: the message that the text replies to shows no grid."""
    shown = await grid_of_message(usecases, platform, message_ref)
    if shown is None:
        return None
    match = PLACE.fullmatch(text)
    cell = shown.find_cell(match.group(1)) if match is not None else None
    if match is None:
        words = texts.shorten(" ".join(text.split()), texts.MAX_LINE_TEXT)
        return GridReply(sentence=texts.format_text(WHICH_CELL, locale, cell=shown.cells[-1].name, words=words))
    if cell is None:
        return GridReply(sentence=texts.format_text(NO_CELL, locale, cell=match.group(1)))
    return GridReply(cell, match.group(2).strip())


async def shows_grid(usecases: UseCases, person: Person, platform: str, button: Button, message_ref: str) -> bool:
    """Whether the message above the button is one of its grid, of which everybody there sees the pictures; under a
    message of no job it has to be the person's own. Raises: JobNotFound, NotFound."""
    if button.action == "show":
        cell = await usecases.chat.get_job(button.job_id)
        grid_id, owner = cell.batch, cell.owner
    else:
        grid_id, owner = button.job_id, (await usecases.grid_chat.get(button.job_id)).owner
    above = await usecases.chat.job_of_message(platform, message_ref) if message_ref else None
    return owner == person.id if above is None else grid_id is not None and above.batch == grid_id


async def show_cell_of_button(ctx: ChatContext, button: Button) -> ChatReply:
    """Raises: JobNotFound, ImageGone, Blocked: it may not be shown here."""
    job = await ctx.usecases.chat.get_job(button.job_id)
    shown = await ctx.usecases.grid_chat.find(job)
    cell = next((one for one in shown.cells if one.job.id == job.id), None) if shown is not None else None
    if cell is None:
        raise ImageGone
    return await show_cell(ctx, cell)


async def show_cell(ctx: ChatContext, cell: GridCell) -> ChatReply:
    """One picture alone, with its own buttons; of one that was not made, why. Raises: ImageGone, Blocked."""
    heading, result = format_cell(cell), cell.job.result
    if result is None or not cell.job.state.is_final:
        state = texts.format_state(await ctx.usecases.jobs.ticket_for(cell.job), ctx.locale)
        return ChatReply(text=f"{heading}\n{state}")
    if not result.media:
        raise ImageGone
    reply = await show_picture(ctx, cell.job, result.media[0].number)
    return ChatReply(
        text=f"{heading}\n{reply.text}",
        images=reply.images,
        buttons=reply.buttons,
        job=reply.job,
        picture=reply.picture,
    )


async def read_sheets(ctx: ChatContext, grid_id: str) -> tuple[GridMessage, list[Original], bool]:
    """The sheets as they were composed, for anyone who can see the message, and whether they are hidden here.

    Raises: NotFound, ImageGone, Blocked.
    """
    shown = await ctx.usecases.grid_chat.get(grid_id)
    verdict = await ctx.usecases.moderation.require_showable(ctx.origin, shown)
    sheets = await ctx.usecases.grid_chat.read_originals(shown)
    if not sheets:
        raise ImageGone
    return shown, sheets, verdict is Verdict.SPOILER
