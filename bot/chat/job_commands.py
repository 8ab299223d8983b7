"""The commands about a person's own jobs: /queue, /cancel, /history, /show."""

from collections.abc import Mapping
from typing import Any

from bot.chat import texts
from bot.chat.arguments import ChatOption, OptionKind, Suggestion
from bot.chat.buttons import Button, offered_buttons
from bot.chat.replies import ChatContext, ChatImage, ChatReply
from bot.error_texts import explain
from bot.errors import Blocked, ImageGone, JobNotFound, MediaNotFound, NotYours
from bot.i18n import N_
from bot.jobs import Job, JobState, StoredImage
from bot.safety import Verdict
from bot.usecases import Ticket

MAX_PAGES = 50
"""Pages of the history; a search finds what is older."""
MAX_SEARCH = 200
"""Characters of a search that count."""
MAX_OPEN = 100
"""Jobs of each open state that are looked at."""

CANCEL_OPTIONS = (
    ChatOption(
        name="id",
        help=N_("Which job: the start of its ID is enough (default: your only one)"),
        suggests=Suggestion.OPEN_JOB,
    ),
)
HISTORY_OPTIONS = (
    ChatOption(name="search", help=N_("Words from prompts, questions and answers"), takes_rest=True),
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
    return _format_queue(ctx, await _list_open_tickets(ctx))


def _format_queue(ctx: ChatContext, tickets: list[Ticket]) -> ChatReply:
    return ChatReply(text=texts.format_queue(tickets, ctx.locale, style=ctx.style))


async def _list_open_tickets(ctx: ChatContext) -> list[Ticket]:
    """Running jobs first, then the oldest. Queued jobs are read first: one that starts meanwhile is not missed."""
    list_tickets = ctx.usecases.jobs.list_tickets
    queued, _ = await list_tickets(ctx.person, state=JobState.QUEUED, limit=MAX_OPEN)
    running, _ = await list_tickets(ctx.person, state=JobState.RUNNING, limit=MAX_OPEN)
    started = {ticket.job.id for ticket in running}
    return [*reversed(running), *(ticket for ticket in reversed(queued) if ticket.job.id not in started)]


async def cancel_job(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    """By its id, else the job replied to, else the only one there is; of several, the queue is listed."""
    if prefix := options.get("id"):
        job_id = (await _find_own_job(ctx, prefix)).id
    elif ctx.replied_job is not None:
        job_id = ctx.replied_job.id
    else:
        tickets = await _list_open_tickets(ctx)
        if len(tickets) != 1:
            return _format_queue(ctx, tickets)
        job_id = tickets[0].job.id
    ticket = await ctx.usecases.chat.cancel_job(ctx.person, job_id)
    return ChatReply(text=texts.format_job_line(ticket, ctx.locale))


async def list_history(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    """One page, with a button for each job that shows it again."""
    q, page = str(options.get("search", ""))[:MAX_SEARCH], int(options.get("page", 1))
    tickets, has_more = await _read_history_page(ctx, q, page)
    text = texts.format_history(tickets, ctx.locale, page=page, has_more=has_more, q=q, style=ctx.style)
    buttons = tuple(Button("show", ticket.job.id, number) for number, ticket in texts.number_jobs(tickets, page))
    return ChatReply(text=text, buttons=buttons)


async def _read_history_page(ctx: ChatContext, q: str, page: int) -> tuple[list[Ticket], bool]:
    """The jobs of the page, and whether another follows."""
    list_tickets, before = ctx.usecases.jobs.list_tickets, None
    if page > 1:
        _, before = await list_tickets(ctx.person, q=q, limit=(page - 1) * texts.HISTORY_LINES)
        if before is None:
            return [], False
    tickets, following = await list_tickets(ctx.person, q=q, before=before, limit=texts.HISTORY_LINES)
    return tickets, following is not None and page < MAX_PAGES


async def show_job(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    """One of the person's own jobs again: by its id, else the one replied to, else the latest."""
    job = await _job_to_show(ctx, options)
    text = texts.format_job(await ctx.usecases.jobs.ticket_for(job), ctx.locale)
    verdict = await ctx.usecases.moderation.judge_again(ctx.origin, job)
    if verdict is Verdict.BLOCK:
        return ChatReply(text=f"{text}\n{explain(Blocked('adult_here'), locale=ctx.locale)}")
    images = await _read_images(ctx, job, is_spoiler=verdict is Verdict.SPOILER)
    if job.result is not None and job.result.media and not images:
        text = f"{text}\n{explain(ImageGone(), locale=ctx.locale)}"
    return ChatReply(text=text, images=images, buttons=offered_buttons(job, ctx.usecases.models), job=job)


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


async def _read_images(ctx: ChatContext, job: Job, *, is_spoiler: bool) -> tuple[ChatImage, ...]:
    """The pictures of the job that are still stored."""
    made = job.result.media if job.result else ()
    read = [await _read_image(ctx, job, picture, is_spoiler=is_spoiler) for picture in made]
    return tuple(image for image in read if image is not None)


async def _read_image(ctx: ChatContext, job: Job, picture: StoredImage, *, is_spoiler: bool) -> ChatImage | None:
    try:
        media = await ctx.usecases.media.read_media(ctx.person, picture.id)
    except MediaNotFound:
        return None
    alt = picture.alt or str(job.options.get("prompt") or "")
    return ChatImage(media=media, alt=alt, is_spoiler=is_spoiler)
