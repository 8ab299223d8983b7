"""The commands about a person's own jobs: /queue, /cancel, /history, /show."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from bot.chat import grid_commands, picture_texts, texts
from bot.chat.arguments import ChatOption, OptionKind, Suggestion
from bot.chat.buttons import Button, offered_buttons
from bot.chat.replies import ChatContext, ChatImage, ChatReply
from bot.commands import Answer, answer_of
from bot.error_texts import explain
from bot.errors import Blocked, ImageGone, JobNotFound, MediaNotFound, NotYours
from bot.i18n import N_
from bot.jobs import Job, JobState, StoredImage
from bot.ports import HistoryFilter
from bot.queue.grid_message import GridMessage
from bot.safety import Verdict
from bot.usecases import Ticket

SEARCH_S = 3.0
"""How long a search waits for the models that look at pictures; until then it has found words."""
MAX_PAGES = 50
"""Pages of the history; a search finds what is older."""
MAX_SEARCH = 200
"""Characters of a search that count."""
MAX_OPEN = 100
"""Jobs of each open state that are looked at."""
FAVOURITES = frozenset({texts.FAVOURITES, "favorites"})
"""Searches that list the jobs with favourites."""

CANCEL_OPTIONS = (
    ChatOption(
        name="id",
        help=N_("Which job: the start of its ID is enough (default: your only one)"),
        suggests=Suggestion.OPEN_JOB,
    ),
)
HISTORY_OPTIONS = (
    ChatOption(name="search", help=N_("Words, also for what pictures show, or: favourites"), takes_rest=True),
    ChatOption(name="page", help=N_("Which page (default: 1)"), kind=OptionKind.NUMBER, maximum=MAX_PAGES),
)
SHOW_OPTIONS = (
    ChatOption(
        name="id",
        help=N_("Which job: the start of its ID is enough (default: your latest)"),
        suggests=Suggestion.JOB,
    ),
)


async def list_queue(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    return await _format_queue(ctx, await _list_open_tickets(ctx))


async def _format_queue(ctx: ChatContext, tickets: list[Ticket]) -> ChatReply:
    """A grid is one line."""
    lines = await grid_commands.merge_cells(ctx, tickets)
    return ChatReply(text=texts.format_queue(lines, ctx.locale, style=ctx.style))


async def _list_open_tickets(ctx: ChatContext) -> list[Ticket]:
    """Running jobs first, then the oldest. Queued jobs are read first: one that starts meanwhile is not missed."""
    list_tickets = ctx.usecases.jobs.list_tickets
    queued, _ = await list_tickets(ctx.person, state=JobState.QUEUED, limit=MAX_OPEN)
    running, _ = await list_tickets(ctx.person, state=JobState.RUNNING, limit=MAX_OPEN)
    started = {ticket.job.id for ticket in running}
    return [*reversed(running), *(ticket for ticket in reversed(queued) if ticket.job.id not in started)]


async def cancel_job(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    """By its id, else the job replied to, else the only one there is; of several, the queue is listed. The cells of a
    grid are cancelled together."""
    tickets: list[Ticket] = []
    if prefix := options.get("id"):
        shown = await grid_commands.find_grid(ctx, str(prefix))
        job_id = (await _find_own_job(ctx, prefix)).id if shown is None else ""
    elif ctx.replied_job is not None:
        shown, job_id = await grid_commands.replied_grid(ctx), ctx.replied_job.id
    else:
        tickets = await _list_open_tickets(ctx)
        shown = await grid_commands.common_grid(ctx, tickets)
        if len(tickets) != 1 and shown is None:
            return await _format_queue(ctx, tickets)
        job_id = tickets[0].job.id
    if shown is not None:
        return ChatReply(text=await grid_commands.cancel_grid(ctx, shown.grid))
    ticket = await ctx.usecases.chat.cancel_job(ctx.person, job_id)
    return ChatReply(text=texts.format_job_line(ticket, ctx.locale))


async def list_history(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    """One page, with a button for each job or grid that shows it again, and one for the next page."""
    q, page = str(options.get("search", ""))[:MAX_SEARCH], int(options.get("page", 1))
    only = _filter(is_starred=q.strip().casefold() in FAVOURITES)
    if q.strip() and not only.favourite:
        return await _list_found(ctx, q, page)
    q = texts.FAVOURITES if only.favourite else q
    before = await _find_page(ctx, only, page)
    if page > 1 and before is None:
        return ChatReply(text=texts.format_history([], ctx.locale, page=page, q=q, style=ctx.style))
    return await _list_page(ctx, q, only, page, before)


def _filter(*, is_starred: bool) -> HistoryFilter:
    """A grid is one line, except among favourites, which are single pictures."""
    return HistoryFilter(favourite=is_starred, grids_once=not is_starred)


async def _list_found(ctx: ChatContext, q: str, page: int) -> ChatReply:
    """A page of what has the words or shows them, best first."""
    lines = texts.HISTORY_LINES
    found = await ctx.usecases.search.search(
        ctx.person, q, offset=(page - 1) * lines, limit=lines, is_refined=True, wait_s=SEARCH_S
    )
    has_more = found.next is not None and page < MAX_PAGES
    text = texts.format_history(found.tickets, ctx.locale, page=page, has_more=has_more, q=q, style=ctx.style)
    if not found.is_refined:
        text += f"\n{texts.format_text(texts.STILL_LOOKING, ctx.locale)}"
    buttons = [Button("show", one.job.id, label=number) for number, one in texts.number_jobs(found.tickets, page)]
    return ChatReply(text=text, buttons=tuple(buttons))


async def _find_page(ctx: ChatContext, only: HistoryFilter, page: int) -> str | None:
    """The job before the page; None: there is no such page, or it is the first."""
    if page < 2:
        return None
    limit = (page - 1) * texts.HISTORY_LINES
    return (await ctx.usecases.jobs.list_tickets(ctx.person, only=only, limit=limit))[1]


async def turn_history_page(ctx: ChatContext, button: Button) -> ChatReply:
    """The page of a button, which begins after the button's job, even if that was deleted. Raises: NotYours."""
    with suppress(JobNotFound):  # nothing follows a deleted job of somebody else
        if (await ctx.usecases.chat.get_job(button.job_id)).owner != ctx.person.id:
            raise NotYours(button.job_id)
    only = _filter(is_starred=button.arg == "starred")
    q, before = texts.FAVOURITES if only.favourite else "", button.job_id if button.number > 1 else None
    return await _list_page(ctx, q, only, button.number, before)


async def _list_page(ctx: ChatContext, q: str, only: HistoryFilter, page: int, before: str | None) -> ChatReply:
    tickets, following = await ctx.usecases.jobs.list_tickets(
        ctx.person, only=only, before=before, limit=texts.HISTORY_LINES
    )
    has_more = following is not None and page < MAX_PAGES
    if only.grids_once:
        tickets = await grid_commands.merge_cells(ctx, tickets)
    text = texts.format_history(tickets, ctx.locale, page=page, has_more=has_more, q=q, style=ctx.style)
    buttons = [Button("show", one.job.id, label=number) for number, one in texts.number_jobs(tickets, page)]
    arg = "starred" if only.favourite else ""
    if tickets and page > 1:
        newer = await _find_page(ctx, only, page - 1) or tickets[0].job.id
        buttons.append(Button("history", newer, page - 1, arg))
    if has_more:
        buttons.append(Button("history", str(following), page + 1, arg))
    return ChatReply(text=text, buttons=tuple(buttons))


async def show_job(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    """One of the person's own jobs again, or a whole grid: by its id, else the one replied to, else the latest."""
    shown = await _grid_to_show(ctx, options)
    if shown is not None:
        return await grid_commands.show_grid(ctx, shown)
    job = await _job_to_show(ctx, options)
    if ctx.replied_picture and not options.get("id"):
        return await show_picture(ctx, job, ctx.replied_picture)
    text = texts.format_job(await ctx.usecases.jobs.ticket_for(job), ctx.locale)
    images, is_any_blocked = await _read_showable(ctx, job)
    if is_any_blocked:
        text = f"{text}\n{explain(Blocked('adult_here'), locale=ctx.locale)}"
        if not images:
            return ChatReply(text=text)
    if job.result is not None and answer_of(job.command) is Answer.IMAGES and not images:
        text = f"{text}\n{explain(ImageGone(), locale=ctx.locale)}"
    number = await grid_commands.number_of_cell(ctx, job) if images else 0
    buttons = offered_buttons(job, ctx.usecases.models, picture=number)
    return ChatReply(text=text, images=images, buttons=buttons, job=job, picture=number)


async def _grid_to_show(ctx: ChatContext, options: Mapping[str, Any]) -> GridMessage | None:
    if prefix := options.get("id"):
        return await grid_commands.find_grid(ctx, str(prefix))
    if ctx.replied_job is not None:
        return await grid_commands.replied_grid(ctx)
    latest, _ = await ctx.usecases.jobs.list_tickets(ctx.person, limit=1)
    return await grid_commands.common_grid(ctx, latest)


async def show_picture(ctx: ChatContext, job: Job, number: int) -> ChatReply:
    """One of several pictures, from the store, for anyone who can see the job's message.

    Raises: ImageGone; Blocked: it may not be shown here.
    """
    shown = job.result.find_picture(number) if job.result else None
    if shown is None:
        raise ImageGone
    verdict = await ctx.usecases.moderation.require_showable(ctx.origin, job, picture=number)
    [original] = await ctx.usecases.chat.read_originals(ctx.person, job.id, picture=number)
    image = ChatImage(
        media=original,
        alt=picture_texts.alt_of(job, shown),
        is_spoiler=verdict is Verdict.SPOILER,
        number=number,
    )
    return ChatReply(
        text=picture_texts.format_picture(job, number, ctx.locale),
        images=(image,),
        buttons=offered_buttons(job, ctx.usecases.models, picture=number),
        job=job,
        picture=number,
    )


async def _job_to_show(ctx: ChatContext, options: Mapping[str, Any]) -> Job:
    """Raises: JobNotFound, NotYours."""
    if prefix := options.get("id"):
        return await _find_own_job(ctx, prefix)
    if ctx.replied_job is not None:
        if ctx.replied_job.owner != ctx.person.id:
            raise NotYours(ctx.replied_job.id)
        return ctx.replied_job
    latest, _ = await ctx.usecases.jobs.list_tickets(ctx.person, limit=1)
    if not latest:
        raise JobNotFound("")
    return latest[0].job


async def _find_own_job(ctx: ChatContext, prefix: Any) -> Job:
    """Raises: JobNotFound."""
    return (await ctx.usecases.jobs.get_ticket(ctx.person, str(prefix).split()[0].casefold())).job


async def _read_showable(ctx: ChatContext, job: Job) -> tuple[tuple[ChatImage, ...], bool]:
    """The pictures of the job that are still stored and may be shown here, and whether others may not."""
    made = job.result.media if job.result else ()
    verdicts = [await ctx.usecases.moderation.judge_again(ctx.origin, job, picture=one.number) for one in made]
    read = [
        await _read_image(ctx, job, picture, is_spoiler=verdict is Verdict.SPOILER)
        for picture, verdict in zip(made, verdicts, strict=True)
        if verdict is not Verdict.BLOCK
    ]
    return tuple(image for image in read if image is not None), Verdict.BLOCK in verdicts


async def _read_image(ctx: ChatContext, job: Job, picture: StoredImage, *, is_spoiler: bool) -> ChatImage | None:
    try:
        media = await ctx.usecases.media.read_media(ctx.person, picture.id)
    except MediaNotFound:
        return None
    return ChatImage(media=media, alt=picture_texts.alt_of(job, picture), is_spoiler=is_spoiler, number=picture.number)
