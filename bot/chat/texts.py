"""What a chat is told, as plain text without any markup: standing, answers, lists and help.

Adapters format nothing themselves; they only cut what is too long for their platform.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bot import error_texts
from bot.chat.buttons import Button
from bot.errors import JobCancelled
from bot.i18n import LOCALES, N_, Translate, translator
from bot.jobs import Job, JobState
from bot.models import ARRIVING, Arrival, Models
from bot.options import clean_text
from bot.ports import Progress
from bot.usecases import Quota, Ticket

SHOWN_ID = 6
"""Characters of an id that people are shown; any unique beginning of 4 or more will do."""
SHOWN_WORDS = 60


def say_state(ticket: Ticket, locale: str = "en") -> str:
    """The placeholder: where the job stands and how long it will likely take."""
    say, job = translator(locale), ticket.job
    match job.state:
        case JobState.QUEUED if ticket.arrival is not None:
            return _say_arriving(ticket, ticket.arrival, say)
        case JobState.QUEUED if ticket.position:
            stands = say("Queued, number {position}").format(position=ticket.position)
        case JobState.QUEUED:
            stands = say("Queued")
        case JobState.RUNNING:
            return say_progress(ticket.progress, locale, eta_s=ticket.eta_s)
        case JobState.RENDERED | JobState.DELIVERED:
            return say("Done.")
        case JobState.CANCELLED:
            return error_texts.explain(JobCancelled(), locale=locale)
        case _:
            return job.error.message if job.error else say("Failed.")
    return f"{stands}, {say_duration(ticket.eta_s, say)}." if ticket.eta_s is not None else f"{stands}."


def _say_arriving(ticket: Ticket, arrival: Arrival, say: Translate) -> str:
    """How far the model is that the job waits for, and the job's place."""
    line = say_arrival(arrival, ticket.title, say)
    if not ticket.position:
        return line
    place = say("You are {place}.").format(place=_ordinal(ticket.position, say))
    return f"{line} {place}"


def say_arrival(arrival: Arrival, title: str, say: Translate) -> str:
    """One line about a model on its way here."""
    if arrival.stage == "checking":
        return say("Checking {model}.").format(model=title)
    if arrival.stage != "downloading" or not arrival.total:
        waits = say("Trying {model}.") if arrival.stage == "trying" else say("Getting {model} ready.")
        return waits.format(model=title)
    percent = min(100, 100 * arrival.done // arrival.total)
    if arrival.eta_s is None:
        return say("Downloading {model}, {percent} %.").format(model=title, percent=percent)
    left = say_duration(arrival.eta_s, say)
    return say("Downloading {model}, {percent} %, {left}.").format(model=title, percent=percent, left=left)


def _ordinal(number: int, say: Translate) -> str:
    if number % 100 not in (11, 12, 13):
        match number % 10:
            case 1:
                return say("{n}st").format(n=number)
            case 2:
                return say("{n}nd").format(n=number)
            case 3:
                return say("{n}rd").format(n=number)
    return say("{n}th").format(n=number)


def say_standing(ticket: Ticket, progress: Progress, locale: str = "en") -> str:
    """The placeholder at some progress: of the job, or of the model that it waits for."""
    if progress.note == ARRIVING:
        return say_state(ticket, locale)
    return say_progress(progress, locale, eta_s=ticket.eta_s)


def say_progress(progress: Progress | None, locale: str = "en", *, eta_s: float | None = None) -> str:
    """One line for the placeholder while the job runs."""
    say = translator(locale)
    if progress is None or not progress.steps:
        return say("Working.")
    if progress.note:
        return say("Loading the model.")
    percent = min(100, 100 * progress.step // progress.steps)
    if eta_s is None:
        return say("Working: {percent} %.").format(percent=percent)
    return say("Working: {percent} %, {left} left.").format(percent=percent, left=say_duration(eta_s, say))


def say_duration(seconds: float, say: Translate) -> str:
    if seconds < 90:
        return say("about {n} s").format(n=max(1, round(seconds)))
    if seconds < 5400:
        return say("about {n} min").format(n=round(seconds / 60))
    return say("about {n} h").format(n=round(seconds / 3600))


def say_result(job: Job, locale: str = "en") -> str:
    """The final message's text: the answer, or what the picture was made from, then notes; or why there is none."""
    if job.result is None:
        return say_state(Ticket(job=job), locale)
    lines = [_answer(job, locale), *job.result.notes]
    return "\n".join(line for line in lines if line)


def say_placeholder(ticket: Ticket, locale: str = "en") -> str:
    """What stands there before the result: where the job stands; of one that is done already, the result's words.

    It is posted all the same, and edited: a crash may have posted it before, and only the same post is found again.
    """
    return say_result(ticket.job, locale) if ticket.job.result else say_state(ticket, locale)


def say_kept(job: Job, locale: str = "en") -> str:
    """Instead of a result that could not be shown; in place of a failure, its own sentence."""
    return say_text(KEPT, locale, id=job.id[:SHOWN_ID]) if job.result else say_result(job, locale)


def _answer(job: Job, locale: str) -> str:
    assert job.result is not None
    if job.result.text is None:
        return _made_from(job, translator(locale))
    lines = job.result.text.splitlines() or [""]
    if job.command == "describe":
        return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))
    question = job.options.get("question")
    return f"{question}\n{job.result.text}" if question else job.result.text


def _made_from(job: Job, say: Translate) -> str:
    seed = job.result.seed if job.result else None
    prompt = clean_text(str(job.options.get("prompt", ""))) or say("A picture")
    told = f"{prompt}\n{job.options['width']}x{job.options['height']}" if "width" in job.options else prompt
    return told if seed is None else say("{told}, seed {seed}").format(told=told, seed=seed)


def say_line(ticket: Ticket, locale: str = "en") -> str:
    """One job in one line: a short id that other commands take, what it was, and where it stands."""
    job = ticket.job
    words = clean_text(str(job.options.get("prompt") or job.options.get("question") or ""))
    if job.result and job.result.text:
        words = f"{words} {job.result.text}".replace("\n", " ").strip()
    if len(words) > SHOWN_WORDS:
        words = words[: SHOWN_WORDS - 1].rstrip() + "\u2026"
    state = "" if job.state in (JobState.RENDERED, JobState.DELIVERED) else f" ({say_state(ticket, locale)})"
    return f"{job.id[:SHOWN_ID]}  {job.command} {words}".rstrip() + state


def say_history(tickets: Sequence[Ticket], locale: str = "en", *, has_more: bool = False, q: str = "") -> str:
    say = translator(locale)
    if not tickets:
        return say("Nothing of yours has these words.") if q else say("You have not asked for anything yet.")
    lines = [say("Your latest, newest first. See one again with /show and its name.")]
    lines += [say_line(ticket, locale) for ticket in tickets]
    if has_more:
        lines.append(say("There are more: search for words with /history WORDS."))
    return "\n".join(lines)


def say_queue(tickets: Sequence[Ticket], locale: str = "en") -> str:
    """The person's own unfinished jobs."""
    say = translator(locale)
    if not tickets:
        return say("Nothing of yours is waiting.")
    lines = [say_line(ticket, locale) for ticket in tickets]
    return "\n".join([*lines, say("Cancel one with /cancel and its name.")])


def say_show(ticket: Ticket, locale: str = "en") -> str:
    """One job in full: its name, its answer or standing, and what it was made with."""
    say, job = translator(locale), ticket.job
    lines = [f"{job.id}  {job.command}", say_result(job, locale) if job.result else say_state(ticket, locale)]
    if job.result and job.result.model:
        lines.append(say("Model: {model}").format(model=job.result.model))
    return "\n".join(lines)


def say_quota(quota: Quota, locale: str = "en") -> str:
    say = translator(locale)
    used = say("Used today: {used:g} device-seconds, {reserved:g} more reserved.").format(
        used=round(quota.used, 1), reserved=round(quota.reserved, 1)
    )
    if quota.limit is None:
        unlimited = say("There is no limit for you.")
        return f"{used} {unlimited}"
    left = max(0.0, quota.limit - quota.used - quota.reserved)
    told = say("Left: {left:g} of {limit:g}. It starts anew at {time} UTC.").format(
        left=round(left, 1), limit=quota.limit, time=f"{quota.resets_at:%H:%M}"
    )
    return f"{used} {told}"


def say_models(models: Models, locale: str = "en") -> str:
    say = translator(locale)
    lines = []
    for spec in models:
        tasks = ", ".join(say(task) for task in spec.tasks)
        demo = say("demo")
        lines.append(f"{spec.name}: {tasks} ({demo})" if spec.demo else f"{spec.name}: {tasks}")
    return "\n".join(lines) or say("There are no models here yet.")


def say_settings(values: Mapping[str, Any], locale: str = "en") -> str:
    say = translator(locale)
    if not values:
        return say("You have no defaults of your own. Set one, for example: /settings steps 30")
    lines = [f"{name}: {value}" for name, value in values.items()]
    return "\n".join([say("Your own defaults:"), *lines])


def say_help(locale: str = "en", platform: str = "") -> str:
    """What can be asked here. It says that a bot makes the pictures."""
    say = translator(locale)
    lines = [say("Easel makes pictures from words and answers questions about pictures."), ""]
    lines += [f"/{name}: {say(what)}" for name, what in HELP.items()]
    how = HELP_FLAGS if platform == "telegram" else HELP_REPLY
    return "\n".join([*lines, "", say(how), say(MADE_BY_A_BOT)])


def say_privacy(locale: str = "en") -> str:
    return translator(locale)(PRIVACY)


HELP: Mapping[str, str] = {
    "imagine": N_("make pictures from a prompt"),
    "caption": N_("say what is in a picture"),
    "ask": N_("ask a question about a picture"),
    "describe": N_("turn a picture into prompts"),
    "match": N_("say how well texts fit a picture"),
    "edit": N_("change a picture as you say"),
    "upscale": N_("make a picture twice as large"),
    "queue": N_("what of yours is waiting"),
    "cancel": N_("cancel one of yours"),
    "history": N_("what you asked for lately, or a search for words"),
    "show": N_("see one of yours again"),
    "quota": N_("what you have used today"),
    "settings": N_("your own defaults"),
    "models": N_("which models there are"),
    "privacy": N_("your data: get it, or have it forgotten"),
    "admin": N_("for admins: models, and what is shown here"),
    "help": N_("this"),
}
"""What a chat can be asked, in the order in which it is shown. Menus of commands take these words, too."""

HELP_FLAGS = N_(
    "Write options as flags, for example: /imagine a fox --style ink --count 2 --aspect 3:2. "
    "Reply to a picture with a question to ask about it."
)
HELP_REPLY = N_("Reply to a picture of mine with a question to ask about it.")
MADE_BY_A_BOT = N_("All pictures here are made by a bot: nobody painted them, and they may be wrong.")

PRIVACY = N_(
    "Kept of you here: what you asked for, the pictures you sent and got, your defaults and what you used. "
    "/privacy export sends you a copy. /privacy forget deletes it all and cancels what waits; it cannot be undone. "
    "Messages in this chat stay until you delete them."
)
EXPORTED = N_("This is everything kept of you.")
FORGOTTEN = N_("Done: everything kept of you here is deleted.")
CONFIRM_FORGET = N_("This deletes your history, pictures and defaults for good. Are you sure?")
SMALLER = N_("The file was made smaller to fit this chat; the Original button sends it as rendered.")
KEPT = N_("The result could not be shown here. It is kept: see it with /show {id}.")
EDIT_OR_ASK = N_("Shall I change the picture like that, or answer about it?")
ONLY_ASK = N_("No model here changes pictures. Shall I answer about it?")
BUTTON_OLD = N_("This button is not one of mine, or too old.")
DELETED = N_("Deleted.")
NO_PICTURE = N_("There is no picture in that message.")
HINT = N_("Write /imagine and what to draw, or send a photo with a question. /help tells everything.")
PHOTO_HINT = N_("Nice. Reply to it with a question, or with /caption, /describe or /edit.")
ONLY_PICTURES = N_("I read text and look at pictures only: send a photo, or a picture as a file.")
WHAT_TO_ASK = N_("Reply to this with your question about the picture.")
HOW_TO_EDIT = N_("Reply to this with what to change in the picture.")
IN_PRIVATE = N_("That is between us: write it to me in a private chat.")
TOO_LARGE_TO_SEND = N_("This is too large for a chat.")
CANNOT_POST = N_("I may not post in this channel, so the answer comes as a private message or with /show.")

BUTTONS: Mapping[str, str] = {
    "cancel": N_("Cancel"),
    "reroll": N_("Reroll"),
    "vary": N_("Vary"),
    "upscale": N_("Upscale"),
    "remix": N_("Remix"),
    "ask": N_("Ask"),
    "edit": N_("Edit"),
    "original": N_("Original"),
    "delete": N_("Delete"),
    "pick": N_("Imagine {number}"),
}


def say_button(button: Button, locale: str = "en") -> str:
    return translator(locale)(BUTTONS[button.action]).format(number=button.number)


def say_late(seconds: float, locale: str = "en") -> str:
    """Before the answer to what was asked while nobody listened."""
    say = translator(locale)
    return say("I was away, sorry: this was asked {ago} ago.").format(ago=say_duration(seconds, say))


def menu(locale: str = "en") -> list[tuple[str, str]]:
    """Every command with its few words, for a platform's menu."""
    say = translator(locale)
    return [(name, say(what)) for name, what in HELP.items()]


def available_locales() -> list[str]:
    """English, and every language that has a catalogue: "de", "pt_BR"."""
    return ["en", *sorted({path.parent.parent.name for path in LOCALES.glob("*/LC_MESSAGES/easel.mo")} - {"en"})]


def say_text(sentence: str, locale: str = "en", **figures: object) -> str:
    """One of the sentences above or of an adapter's own: `say_text(DELETED, locale)`."""
    return translator(locale)(sentence).format(**figures)
