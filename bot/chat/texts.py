"""What people read in a chat, as plain text without markup: states, answers, lists and hints.

Adapters add no wording of their own to these; they only cut what is too long for their platform. Examples of commands
are written as the platform's people write them (`CommandStyle`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bot import error_texts
from bot.chat import grid_texts
from bot.chat.arguments import TYPED, CommandStyle
from bot.chat.buttons import Button
from bot.chat.durations import format_duration
from bot.chat.ordinals import format_ordinal
from bot.chat.used_options import format_used
from bot.commands import Answer, Grid, Preview, answer_lines, answer_of
from bot.commands.ask import MAX_SHORT_QUESTION
from bot.commands.preview import describe_preview
from bot.errors import JobCancelled
from bot.i18n import LOCALES, N_, Translate, translator
from bot.jobs import BY_BOT, Job, JobState
from bot.models import InstallProgress
from bot.options import clean_text
from bot.ports import Progress
from bot.queue.grid_message import GridMessage
from bot.usecases import Ticket

SHORT_ID = 6
"""Characters of an id that people are shown; commands accept any unique prefix of 4 or more."""
MAX_LINE_TEXT = 60
MAX_QUOTED_PROMPT = 80
QUEUE_LINES = 20
HISTORY_LINES = 10
"""Jobs on a page of the history."""


# ---------------------------------------------------------------- jobs


def format_state(ticket: Ticket, locale: str = "en") -> str:
    """The placeholder: where the job is and how long it will likely take."""
    job = ticket.job
    if isinstance(job, GridMessage) and job.state is JobState.QUEUED:
        return grid_texts.format_waiting(job, _format_job_state(replace(ticket, eta_s=job.eta_s), locale), locale)
    if isinstance(job, GridMessage) and job.state is JobState.RUNNING and not job.cancel_requested:
        return grid_texts.format_filling(job, locale)
    return _format_job_state(ticket, locale)


def _format_job_state(ticket: Ticket, locale: str) -> str:
    translate, job = translator(locale), ticket.job
    match job.state:
        case JobState.QUEUED if ticket.install_progress is not None:
            return _format_waiting_for_model(ticket, ticket.install_progress, translate)
        case JobState.QUEUED:
            return _format_queued(ticket, translate)
        case JobState.RUNNING if job.cancel_requested:
            return translate("Cancelling\u2026")
        case JobState.RUNNING:
            return format_progress(ticket.progress, locale, eta_s=ticket.eta_s)
        case JobState.RENDERED | JobState.DELIVERED:
            return translate("Done.")
        case JobState.CANCELLED:
            return error_texts.explain(JobCancelled(), locale=locale)
    return job.error.message if job.error else translate("Failed.")


def _format_queued(ticket: Ticket, translate: Translate) -> str:
    place = format_ordinal(ticket.position, translate) if ticket.position else ""
    if ticket.eta_s is None:
        return translate("In the queue: {place}.").format(place=place) if place else translate("In the queue.")
    left = format_duration(ticket.eta_s, translate)
    if not place:
        return translate("In the queue, {left} left.").format(left=left)
    return translate("In the queue: {place}, {left} left.").format(place=place, left=left)


def _format_waiting_for_model(ticket: Ticket, progress: InstallProgress, translate: Translate) -> str:
    """How far the installation is that the job waits for, and the job's place."""
    line = format_install_progress(progress, ticket.title, translate)
    if not ticket.position:
        return line
    place = translate("You are {place} in the queue.").format(place=format_ordinal(ticket.position, translate))
    return f"{line} {place}"


def format_install_progress(progress: InstallProgress, title: str, translate: Translate) -> str:
    """One line about a model that is being installed."""
    if progress.stage == "checking":
        return translate("Checking {model}.").format(model=title)
    if progress.stage != "downloading" or not progress.total:
        stage = translate("Testing {model}.") if progress.stage == "trying" else translate("Getting {model} ready.")
        return stage.format(model=title)
    percent = min(100, 100 * progress.done // progress.total)
    if progress.eta_s is None:
        return translate("Downloading {model}: {percent} %.").format(model=title, percent=percent)
    left = format_duration(progress.eta_s, translate)
    return translate("Downloading {model}: {percent} %, {left} left.").format(model=title, percent=percent, left=left)


def format_status(ticket: Ticket, progress: Progress, locale: str = "en") -> str:
    """The placeholder at some progress: of the job, or of the model that it waits for; the answer as far as it is."""
    if progress.phase == "waiting" or isinstance(ticket.job, GridMessage):
        return format_state(ticket, locale)
    if progress.text and not ticket.job.cancel_requested:
        return f"{_format_text(ticket.job, progress.text)}\u2026"
    return format_progress(progress, locale, eta_s=ticket.eta_s)


def format_progress(progress: Progress | None, locale: str = "en", *, eta_s: float | None = None) -> str:
    """One line for the placeholder while the job runs."""
    translate = translator(locale)
    if progress is None or progress.phase == "waiting":
        return translate("Starting\u2026")
    if progress.phase == "loading":
        return _format_loading(eta_s, translate)
    if progress.phase == "finishing":
        return translate("Finishing\u2026")
    if not progress.steps:
        return translate("Working\u2026")
    percent = 100 * progress.step // progress.steps
    if eta_s is None:
        return translate("Working: {percent} %.").format(percent=percent)
    return translate("Working: {percent} %, {left} left.").format(
        percent=percent, left=format_duration(eta_s, translate)
    )


def _format_loading(eta_s: float | None, translate: Translate) -> str:
    if eta_s is None:
        return translate("Loading the model\u2026")
    return translate("Loading the model, {left} left.").format(left=format_duration(eta_s, translate))


def format_result(job: Job, locale: str = "en", *, with_demo_hint: bool = False) -> str:
    """The final message's text: the answer, or what the picture was made from, then notes; or why there is none."""
    if job.result is None:
        return format_state(Ticket(job=job), locale)
    demo_hint = error_texts.translator(job.origin.locale)(error_texts.DEMO_HINT)
    notes = [note for note in job.result.notes if note != demo_hint]
    hints = [translator(locale)(error_texts.DEMO_HINT)] if with_demo_hint else []
    answer = grid_texts.format_grid(job, locale) if isinstance(job, GridMessage) else _format_answer(job, locale)
    return "\n".join(line for line in (answer, *notes, *hints) if line)


def format_placeholder(ticket: Ticket, locale: str = "en") -> str:
    """The text before the result: the job's state; for a job that is already done, its result.

    It is posted even then, and edited: a crash may have come after the post, and only the same post is found again.
    """
    return format_result(ticket.job, locale) if ticket.job.result else format_state(ticket, locale)


def format_undeliverable(job: Job, locale: str = "en", *, style: CommandStyle = TYPED) -> str:
    """Replaces a result that the platform does not accept; a failure keeps its own sentence."""
    if not job.result:
        return format_result(job, locale)
    return format_text(UNDELIVERABLE, locale, show=write_show(job, style))


def write_show(job: Job, style: CommandStyle) -> str:
    """The command that shows the job, or its whole grid, again."""
    return style.write("show", {"id": job.grid if isinstance(job, GridMessage) else job.id[:SHORT_ID]})


def _format_answer(job: Job, locale: str) -> str:
    assert job.result is not None
    if job.result.text is None:
        return _format_image_caption(job, translator(locale))
    return _format_text(job, job.result.text)


def _format_text(job: Job, text: str) -> str:
    """An answer, or the part of one that there is, after its question."""
    if answer_of(job.command) is Answer.LINES:
        return "\n".join(f"{number}. {line}" for number, line in enumerate(answer_lines(job.command, text) or [""], 1))
    question = job.options.get("question")
    return f"{shorten(question, MAX_SHORT_QUESTION)}\n{text}" if question else text


def _format_image_caption(job: Job, translate: Translate) -> str:
    seed = job.result.seed if job.result else None
    title = describe_preview(job.options, translate) if job.command == Preview.name else translate("A picture")
    prompt = clean_text(str(job.options.get("prompt", ""))) or title
    size = _size_of(job)
    caption = f"{prompt}\n{size}" if size else prompt
    return caption if seed is None else translate("{caption}, seed {seed}").format(caption=caption, seed=seed)


def format_job_line(ticket: Ticket, locale: str = "en") -> str:
    """One job or grid in one line: an id that commands accept, the request, its source, and its state unless done."""
    job = ticket.job
    translate = translator(locale)
    name, command, used = job.id[:SHORT_ID], job.command, format_used(job, translate)
    if isinstance(job, GridMessage):
        name, command, used = job.grid, Grid.name, "; ".join(job.axes)
    details = [_format_source(job, translate), shorten(used, MAX_LINE_TEXT)]
    if job.state not in (JobState.RENDERED, JobState.DELIVERED):
        details.append(format_state(ticket, locale))
    line = f"{name}  {command} {shorten(_request_text(job), MAX_LINE_TEXT)}".rstrip()
    shown = "; ".join(filter(None, details))
    return f"{line} ({shown})" if shown else line


def _request_text(job: Job) -> str:
    """What was asked for, and the answer in words, else the size of the picture."""
    named = (job.options.get(name) for name in ("prompt", "question", "texts", "region", "kind"))
    text = clean_text(str(next(filter(None, named), "")))
    if job.result and job.result.text:
        return " \u2192 ".join(filter(None, (text, clean_text("; ".join(job.result.text.splitlines())))))
    return text or _size_of(job)


def _size_of(job: Job) -> str:
    """Of the picture: hires fix enlarges what was asked for."""
    made = job.result.media[0] if job.result and job.result.media and job.options.get("hires") else None
    if made is not None:
        return f"{made.width}x{made.height}"
    return f"{job.options['width']}x{job.options['height']}" if "width" in job.options else ""


def shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "\u2026"


def _format_source(job: Job, translate: Translate) -> str:
    """The job or pictures that it was made from."""
    if job.parent:
        return translate("from {id}").format(id=job.parent[:SHORT_ID])
    pictures = [image for image in job.images if image.role in ("init", "reference")]
    if all(image.author == BY_BOT for image in pictures):
        return ""
    count = len(pictures)
    return translate("from {n} pictures").format(n=count) if count > 1 else translate("from a picture")


def number_jobs(tickets: Sequence[Ticket], page: int) -> list[tuple[int, Ticket]]:
    """The jobs of a page of the history with their numbers, which continue from page to page."""
    return list(enumerate(tickets, (page - 1) * HISTORY_LINES + 1))


FAVOURITES = "favourites"
"""The search that lists the jobs with favourites."""
HISTORY_HEADING = N_("Your latest jobs, newest first. To see one again, press its number or send {show}.")
FOUND_HEADING = N_(
    "Your jobs that have these words or show them, best first. To see one again, press its number or send {show}."
)
STILL_LOOKING = N_("I could not look at all of your pictures yet. Ask again in a moment.")
FAVOURITES_HEADING = N_("Your favourites, newest first. To see one again, press its number or send {show}.")


def format_history(
    tickets: Sequence[Ticket],
    locale: str = "en",
    *,
    page: int = 1,
    has_more: bool = False,
    q: str = "",
    style: CommandStyle = TYPED,
) -> str:
    translate = translator(locale)
    if not tickets and page > 1:
        return translate("There is no page {page}.").format(page=page)
    if not tickets and q.strip().casefold() == FAVOURITES:
        star = format_text(BUTTONS["favourite"], locale)
        return translate("You have no favourites yet: press \u201c{star}\u201d under a picture.").format(star=star)
    if not tickets:
        return translate("None of your jobs has or shows these words.") if q else translate("You have no jobs yet.")
    heading = FAVOURITES_HEADING if q.strip().casefold() == FAVOURITES else FOUND_HEADING if q else HISTORY_HEADING
    lines = [translate(heading).format(show=style.write("show", {"id": translate("ID")}))]
    lines += [f"{number}. {format_job_line(ticket, locale)}" for number, ticket in number_jobs(tickets, page)]
    if has_more or page > 1:
        lines += _format_pages(page, translate, has_more=has_more, q=q, style=style)
    return "\n".join(lines)


def _format_pages(page: int, translate: Translate, *, has_more: bool, q: str, style: CommandStyle) -> list[str]:
    """Which page of the history it is, and how to find the rest."""
    more = style.write("history", {"search": clean_text(q)} if q else None, page=str(page + 1))
    sentence = translate("Page {page}. For more: {more}") if has_more else translate("Page {page}.")
    search = style.write("history", {"search": translate("WORDS")})
    searching = [] if q else [translate("To search all your jobs: {search}.").format(search=search)]
    return [sentence.format(page=page, more=more), *searching]


def format_queue(tickets: Sequence[Ticket], locale: str = "en", *, style: CommandStyle = TYPED) -> str:
    """The person's own unfinished jobs, the next one first."""
    translate = translator(locale)
    if not tickets:
        return translate("Your queue is empty.")
    lines = [format_job_line(ticket, locale) for ticket in tickets[:QUEUE_LINES]]
    if len(tickets) > QUEUE_LINES:
        lines.append(translate("\u2026 and {n} more.").format(n=len(tickets) - QUEUE_LINES))
    return "\n".join(
        [*lines, translate("To cancel one: {cancel}.").format(cancel=style.write("cancel", {"id": translate("ID")}))]
    )


def format_job(ticket: Ticket, locale: str = "en") -> str:
    """One job in full: its id, its source, its answer or state, and its model."""
    translate, job = translator(locale), ticket.job
    heading = ", ".join(filter(None, (f"{job.id}  {job.command}", _format_source(job, translate))))
    lines = [heading, format_result(job, locale) if job.result else format_state(ticket, locale)]
    if job.result and job.result.model:
        lines.append(translate("Model: {model}").format(model=job.result.model))
    used = format_used(job, translate)
    if used:
        lines.append(translate("With: {options}").format(options=used))
    return "\n".join(lines)


SMALLER = N_("Shrunk to fit this chat; the Original button sends the full file.")
UNDELIVERABLE = N_("I couldn't post the result here, but it's saved: {show}")
EDIT_OR_ASK = N_("Should I edit the picture, or answer that as a question?")
ONLY_ASK = N_("I can't edit pictures here. Was that a question about it?")
BUTTON_EXPIRED = N_("This button no longer works.")
DELETED = N_("Deleted.")
NO_PICTURE = N_("That message has no picture.")
ONLY_PICTURES = N_("I can only read text and look at pictures. Send a photo, or a picture as a file.")
ASK_PROMPT = N_("Reply to this message with your question about the picture.")
EDIT_PROMPT = N_("Reply to this message with what to change in the picture.")
REGION_PROMPT = N_(
    "Reply to this message with the part to change, a colon, and what to paint there, for example: the hat: a crown"
)
REMIX_PROMPT = N_("Reply to this message with the new prompt. This was the last one:\n{prompt}")
STARRED, UNSTARRED = N_("Added to your favourites."), N_("Removed from your favourites.")
SENT_PRIVATELY = N_("I couldn't post this where you asked for it.")
IN_PRIVATE = N_("For your privacy, send me that in a private chat.")
TOO_LARGE_TO_SEND = N_("This file is too large for this chat.")
CANNOT_POST = N_("I can't post in this chat, so you get the answer as a private message, or with {show}.")

BUTTONS: Mapping[str, str] = {
    "cancel": N_("Cancel"),
    "cancel.grid": N_("Cancel all"),
    "reroll": N_("Reroll"),
    "vary": N_("Vary"),
    "upscale": N_("Upscale"),
    "remix": N_("Remix"),
    "region": N_("Change a part"),
    "style": N_("Same style"),
    "subject": N_("Same subject"),
    "ask": N_("Ask"),
    "edit": N_("Edit"),
    "original": N_("Original"),
    "original.grid": N_("Original"),
    "delete": N_("Delete"),
    "delete.grid": N_("Delete"),
    "show": N_("U{number}"),
    "pick": N_("Imagine {number}"),
    "vary.subtle": N_("Vary (subtle)"),
    "vary.strong": N_("Vary (strong)"),
    "favourite": N_("\u2605 Favourite"),
    "history": N_("Page {number}"),
    "history.starred": N_("Page {number}"),
    "zoom.15": N_("Zoom out 1.5x"),
    "zoom.20": N_("Zoom out 2x"),
    "square": N_("Square"),
    "pan.left": N_("\u2b05\ufe0f"),
    "pan.right": N_("\u27a1\ufe0f"),
    "pan.up": N_("\u2b06\ufe0f"),
    "pan.down": N_("\u2b07\ufe0f"),
    "report": N_("Report"),
}
VARY_ONE = N_("V{number}")
TRY_IT, MAKE_IT = N_("Try it"), N_("Make it")


def format_button(button: Button, locale: str = "en") -> str:
    if button.label or button.cell:
        return str(button.label or button.cell)
    label = TRY_IT if button.is_example else MAKE_IT if button.makes_offer else BUTTONS[button.name]
    if button.name == "vary" and button.number:
        label = VARY_ONE
    return translator(locale)(label).format(number=button.number)


def format_delay(seconds: float, locale: str = "en") -> str:
    """Precedes the answer to a request that came while the server was offline."""
    translate = translator(locale)
    ago = format_duration(seconds, translate)
    return translate("Sorry for the delay: you asked this {ago} ago, while I was offline.").format(ago=ago)


def available_locales() -> list[str]:
    """English, and every language that has a catalogue: "de", "pt_BR"."""
    return ["en", *sorted({path.parent.parent.name for path in LOCALES.glob("*/LC_MESSAGES/easel.mo")} - {"en"})]


def format_text(sentence: str, locale: str = "en", **values: object) -> str:
    """One of the sentences above or of an adapter's own: `format_text(DELETED, locale)`."""
    return translator(locale)(sentence).format(**values)
