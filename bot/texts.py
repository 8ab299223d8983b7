"""Every sentence a person reads, through gettext catalogues (`bot/locales/`), with English as the source.

`explain` turns an error into one short sentence that says what to do. It never shows a traceback or a path.
"""

import gettext
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from bot import errors
from bot.jobs import Job, JobState
from bot.options import clean_text

LOCALES = Path(__file__).parent / "locales"

OPTION_PROBLEMS: Mapping[str, str] = {
    "unknown": "There is no option {option}.{hint} Options here: {allowed}.",
    "missing": "{option} is missing: say what you want.",
    "empty": "{option} is empty: say what you want in words.",
    "range": "{option} is {value}, but must be {allowed}.",
    "choice": "{option} cannot be {value}.{hint} Choose one of: {allowed}.",
    "type": "{option} is {value}, but must be {allowed}.",
    "long": "{option} has {value} characters; at most {allowed} are read. Please shorten it.",
    "twice": "{option} was given twice: give it once.",
    "no_value": "{option} needs a value.",
    "no_text": "This command takes no text, only options: {allowed}.",
    "multiple": "{option} is {value}, but must be a multiple of {allowed}; {nearest} would do.",
    "size_twice": "Give the size once: as {option}, or as width and height.",
    "needs_image": "This needs a picture: send one along, or reply to one.",
    "no_images": "This command takes no picture.",
    "too_many_images": "{value} pictures are too many: at most {allowed} here.",
    "needs_init": "{option} only means something with a picture to start from: send one along, or leave it out.",
    "model_lacks": "The model {value} does not take {option}: leave it out, or choose another model.",
    "no_model": "No model here can do {value}. The owner can add one to the config.",
    "combinations": "The prompt has too many combinations: at most {allowed} at once.",
    "needs_quote": "The prompt stands for {value} pictures. Ask for a quote first and send it along to confirm.",
    "quote": "The quote does not fit this request any more: ask for a new one.",
    "body": "{option} is not as expected: {allowed}.",
    "key_long": "An Idempotency-Key is 1 to {allowed} visible characters.",
}

MEDIA_PROBLEMS: Mapping[str, str] = {
    "empty": "The file is empty: send the picture again.",
    "not_a_picture": "This file is not a picture: send a PNG, JPEG, WebP or GIF.",
    "format": "Pictures of the kind {found} are not read here: send a PNG, JPEG, WebP or GIF.",
    "damaged": "The picture is damaged or cut short: send it again, or save it anew first.",
    "slow": "The picture took too long to read: send a smaller one.",
}

ENGINE_SENTENCES: Mapping[str, str] = {
    "engine_failed": "Making this failed, and you were not charged. Please try again; "
    "if it fails again, give the owner the code {incident}.",
    "model_unavailable": "The model is not ready here, and you were not charged. "
    "The owner can see why under the code {incident}.",
    "out_of_memory": "The device ran out of memory, and you were not charged. A smaller size or count may work.",
    "timeout": "This took longer than one job may, and you were not charged. Fewer steps or a smaller size may work.",
    "worker_lost": "The engine stopped while making this, again and again, and you were not charged. "
    "Another size or model may work (code {incident}).",
    "interrupted_too_often": "The server was restarted too often while this ran, and you were not charged. "
    "Please ask again.",
    "internal": "Something went wrong here, and you were not charged. Please try again; the code is {incident}.",
    "cancelled": "Cancelled; you were not charged.",
}


MODEL_REMOVED = (
    "The model {model} was taken away before this could run, and you were not charged. "
    "Please ask again with another model."
)


@lru_cache(maxsize=32)
def translator(locale: str) -> Callable[[str], str]:
    return gettext.translation("easel", LOCALES, [locale], fallback=True).gettext


def explain(error: BaseException, *, locale: str = "en", incident: str = "") -> str:
    """The sentence for a person."""
    say = translator(locale)
    match error:
        case errors.InvalidOption():
            return _explain_option(error, say)
        case errors.UnknownCommand():
            hint = say(" Did you mean {nearest}?").format(nearest=error.nearest) if error.nearest else ""
            known = ", ".join(error.known)
            return say("There is no command {name}.{hint} Commands: {known}.").format(
                name=clean_text(error.name), hint=hint, known=known
            )
        case errors.UnsupportedMedia():
            return say(MEDIA_PROBLEMS[error.problem]).format(found=error.found)
        case errors.UserError():
            return _explain_refusal(error, say)
        case errors.ModelRemoved():
            return say(MODEL_REMOVED).format(model=error.model)
        case errors.EaselError():
            sentence = ENGINE_SENTENCES.get(error.code, ENGINE_SENTENCES["internal"])
            return say(sentence).format(incident=incident or "-")
    return say(ENGINE_SENTENCES["internal"]).format(incident=incident or "-")


def _explain_option(error: errors.InvalidOption, say: Callable[[str], str]) -> str:
    hint = say(" Did you mean {nearest}?").format(nearest=error.nearest) if error.nearest else ""
    return say(OPTION_PROBLEMS[error.problem]).format(
        option=clean_text(error.option),
        value=_shown(error.value, say),
        allowed=error.allowed,
        nearest=error.nearest,
        hint=hint,
    )


def _shown(value: object, say: Callable[[str], str]) -> str:
    """What a person gave, short and without characters that cannot be seen."""
    match value:
        case str():
            return f"\u201c{clean_text(value)[:60]}\u201d"
        case int() if value.bit_length() > 200:
            return say("a huge number")
        case list() | tuple():
            return say("a list")
        case dict():
            return say("an object")
    return str(value)[:60]


def _explain_refusal(error: errors.UserError, say: Callable[[str], str]) -> str:
    match error:
        case errors.QuotaExceeded():
            return say(
                "Today's allowance of {limit:g} device-seconds does not cover this ({cost:g} needed, {left:g} left). "
                "It starts anew at {time} UTC."
            ).format(
                limit=error.limit,
                cost=error.cost,
                left=max(0.0, error.left),
                time=f"{error.resets_at:%H:%M}",
            )
        case errors.QueueFull(whole_house=True):
            return say("The queue is full right now: try again in {s} s.").format(s=error.retry_after_s)
        case errors.QueueFull():
            return say(
                "You have {limit} unfinished jobs, the most one person may have: wait for one or cancel one."
            ).format(limit=error.limit)
        case errors.NotFound():
            return say("There is no {kind} {name} of yours.").format(
                kind=say(error.kind), name=clean_text(error.name)[:20] or "?"
            )
        case errors.NotCancellable():
            return say("The job {id} cannot be cancelled any more: it is {state}.").format(
                id=error.job_id, state=say(error.state)
            )
        case errors.IdempotencyConflict():
            return say("This Idempotency-Key came before with another request: use a new key for a new request.")
        case errors.TooLarge():
            return say("The picture is too large: at most {limit:g} {unit}.").format(
                limit=error.limit, unit=say(error.unit)
            )
        case errors.Unauthorized():
            return say(UNAUTHORIZED.get(error.problem, UNAUTHORIZED["key"]))
        case errors.Blocked():
            return say("This is not allowed here: {reason}.").format(reason=error.reason)
        case errors.StorageFull():
            return say("The server's disk is full, so nothing was taken on. The owner has to make room first.")
        case errors.StorageBusy():
            return say("The database is held by another program, so nothing was saved: try again in a moment.")
        case errors.ShuttingDown():
            return say("The server is just restarting: try again in a moment.")
    return say("This was refused ({code}).").format(code=error.code)


UNAUTHORIZED: Mapping[str, str] = {
    "key": "This needs a valid API key: send it as Authorization: Bearer KEY. "
    "The owner makes one with `easel keys create`.",
    "host": "Without an API key this server only answers at its own loopback address.",
    "origin": "Another web site may not use this server without an API key.",
    "forwarded": "Requests through a proxy need an API key: the owner makes one with `easel keys create`.",
}


def say_state(job: Job, *, locale: str = "en", position: int | None = None) -> str:
    """One line on where the job stands."""
    say = translator(locale)
    match job.state:
        case JobState.QUEUED if position:
            return say("Queued, number {position}.").format(position=position)
        case JobState.QUEUED:
            return say("Queued.")
        case JobState.RUNNING:
            return say("Working.")
        case JobState.RENDERED | JobState.DELIVERED:
            return say("Done.")
        case JobState.FAILED | JobState.DEAD if job.error is None:
            return say("Failed.")
    return job.error.message if job.error else say("Cancelled.")


DEMO_HINT = "Made by the demo model, to prove your installation. For real pictures, add a model to the config."
