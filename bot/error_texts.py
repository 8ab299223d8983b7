"""Every sentence a person reads, through gettext catalogues (`bot/locales/`), with English as the source.

`explain` turns an error into one short sentence that says what to do. It never shows a traceback or a path.
"""

import re
from collections.abc import Mapping

from bot import errors
from bot.i18n import N_, Say, translator
from bot.options import clean_text

OPTION_PROBLEMS: Mapping[str, str] = {
    "unknown": N_("There is no option {option}.{hint} Options here: {allowed}."),
    "missing": N_("{option} is missing: say what you want."),
    "empty": N_("{option} is empty: say what you want in words."),
    "range": N_("{option} is {value}, but must be {allowed}."),
    "choice": N_("{option} cannot be {value}.{hint} Choose one of: {allowed}."),
    "type": N_("{option} is {value}, but must be {allowed}."),
    "long": N_("{option} has {value} characters; at most {allowed} are read. Please shorten it."),
    "twice": N_("{option} was given twice: give it once."),
    "no_value": N_("{option} needs a value."),
    "count": N_("{option} has {value} texts, but must have {allowed}, with | between them."),
    "no_text": N_("This command takes no text, only options: {allowed}."),
    "multiple": N_("{option} is {value}, but must be a multiple of {allowed}; {nearest} would do."),
    "size_twice": N_("Give the size once: as {option}, or as width and height."),
    "needs_image": N_("This needs a picture: send one along, or reply to one."),
    "no_images": N_("This command takes no picture."),
    "too_many_images": N_("{value} pictures are too many: at most {allowed} here."),
    "needs_init": N_("{option} only means something with a picture to start from: send one along, or leave it out."),
    "model_lacks": N_("The model {value} does not take {option}: leave it out, or choose another model."),
    "no_model": N_("No model here can do {value}. The owner can add one to the config."),
    "combinations": N_("The prompt has too many combinations: at most {allowed} at once."),
    "wildcard": N_("There is no wildcard {value} here. Others: {allowed}."),
    "no_wildcards": N_(
        "There is no wildcard {value} here, nor any other: the owner puts text files into the folder wildcards of the "
        "data directory."
    ),
    "wildcard_empty": N_("The wildcard {value} has no lines to draw."),
    "wildcards": N_("The wildcards of {option} lead on and on: at most {allowed} are drawn."),
    "no_styles": N_("There are no styles here: leave {option} out."),
    "lora": N_("There is no LoRA {value} here.{hint} Those for this model: {allowed}."),
    "no_lora": N_(
        "There is no LoRA {value} here, nor any other for this model: the owner adds one with `easel models add`."
    ),
    "lora_fits": N_("The LoRA {value} was made for another kind of model. Those for this one: {allowed}."),
    "lora_fits_not": N_("The LoRA {value} was made for another kind of model, and none here is for this one."),
    "lora_weight": N_("The weight of the LoRA {value} must be {allowed}."),
    "loras": N_("The prompt names too many LoRAs: at most {allowed}."),
    "addition_broken": N_("{value} cannot be used with this model: leave it out, or choose another model."),
    "needs_quote": N_("The prompt stands for {value} pictures. Ask for a quote first and send it along to confirm."),
    "needs_confirm": N_(
        "This makes {value} pictures and takes {allowed} device-seconds. "
        "To have them all, send it again with the option confirm (as a flag: --confirm)."
    ),
    "quote": N_("The quote does not fit this request any more: ask for a new one."),
    "body": N_("{option} is not as expected: {allowed}."),
    "key_long": N_("An Idempotency-Key is 1 to {allowed} visible characters."),
}

MEDIA_PROBLEMS: Mapping[str, str] = {
    "empty": N_("The file is empty: send the picture again."),
    "not_a_picture": N_("This file is not a picture: send a PNG, JPEG, WebP or GIF."),
    "format": N_("Pictures of the kind {found} are not read here: send a PNG, JPEG, WebP or GIF."),
    "damaged": N_("The picture is damaged or cut short: send it again, or save it anew first."),
    "slow": N_("The picture took too long to read: send a smaller one."),
}

DOWNLOAD_PROBLEMS: Mapping[str, str] = {
    "gated": N_("{repo} is closed to strangers: open {url}, accept its terms, set HF_TOKEN, and run this again."),
    "forbidden": N_(
        "{repo} is closed to this HF_TOKEN: open {url}, accept its terms with the token's account, and run this again."
    ),
    "not_found": N_("The hub has no {repo}: check the name at {url}; a private one needs HF_TOKEN."),
    "no_revision": N_("{repo} has no revision {detail}: check it at {url}, or leave it out."),
    "unreachable": N_(
        "The hub at {url} does not answer: check the connection, and run this again; it goes on from here."
    ),
    "stalled": N_("The download of {repo} stands still: run this again; it goes on from here."),
    "busy": N_("The hub at {url} has too much to do: run this again later; it goes on from here."),
    "damaged": N_("{detail} of {repo} came damaged twice and was thrown away: run this again later."),
    "offline": N_("HF_HUB_OFFLINE is set, and {repo} is not here: take it away to download."),
    "no_weights": N_("{repo} has no safetensors weights, only {detail}: those can run code and are refused."),
    "no_file": N_("{repo} has no safetensors file {detail}: look at its page for the name."),
    "which_file": N_("{repo} has several files: say which one with --file: {detail}."),
    "twice": N_("{repo} is being fetched already."),
    "no_model": N_("{repo} is no model that Easel knows: it has neither model_index.json nor config.json."),
    "broken": N_("The download of {repo} broke off: run this again; it goes on from here."),
}
"""`detail` and `url` are filled in where the sentence names them."""

MODEL_PROBLEMS: Mapping[str, str] = {
    "unknown": N_("There is no model {model}. Models: {detail}."),
    "disk": N_("{model} needs {detail}: free some, or set HF_HOME to another disk."),
    "memory": N_("{model} needs {detail}: choose a smaller model."),
    "licence": N_("{model} has a licence to accept first: {detail}."),
    "arriving": N_("{model} is on its way already."),
    "unwritable": N_("Your {model} cannot be changed: {detail}."),
    "not_arriving": N_("{model} is not on its way."),
    "task": N_("{model} cannot do {detail}: leave that out, or choose another model."),
    "name": N_("{model} is no name for a model: a name has only a to z, 0 to 9 and -."),
    "taken": N_("There is a {model} already: take another name, or remove that one first."),
    "damaged": N_("{model} is no model that can be loaded: {detail}."),
    "no_file": N_("There is no {model}: give org/name of a hub, a folder, or a .safetensors file."),
    "trial": N_("{model} was fetched, but its test failed, so everything stays as it was: {detail}."),
    "in_use": N_("{model} is the only model for {detail}: choose another for that first."),
    "starter": N_("{model} comes with Easel and stays."),
    "kind": N_("{model} is a {detail}, which Easel cannot run yet."),
}

BLOCKED: Mapping[str, str] = {
    "words": N_("These words are not used here: say it in other words."),
    "minors": N_("Sexual content about minors is never made here, whatever the settings: ask for something else."),
    "nsfw": N_(
        "What came out is not shown here, so it was thrown away, and you were not charged. Try it in other words."
    ),
    "picture": N_("This picture is not worked on here, and you were not charged. Take another one."),
    "unchecked": N_(
        "The picture could not be checked, so it was thrown away, and you were not charged. Try again later; "
        "if it happens again, tell the owner."
    ),
    "no_classifier": N_(
        "Pictures of {detail} cannot be checked here yet, so only admins may ask for them: "
        "an admin runs `easel models use {detail}`, which fetches what checks them."
    ),
    "others": N_(
        "Editing other people's pictures is switched off here: send a picture of your own, or ask an admin to allow it."
    ),
    "adult_here": N_("This picture is not shown here: look at it where it was made."),
    "admins": N_("Only admins of this bot may do that: ask the owner."),
}
"""`detail` is filled in where the sentence names it."""

ENGINE_SENTENCES: Mapping[str, str] = {
    "engine_failed": N_(
        "Making this failed, and you were not charged. Please try again; "
        "if it fails again, give the owner the code {incident}."
    ),
    "model_unavailable": N_(
        "The model is not ready here, and you were not charged. The owner can see why under the code {incident}."
    ),
    "out_of_memory": N_("The device ran out of memory, and you were not charged. A smaller size or count may work."),
    "timeout": N_(
        "This took longer than one job may, and you were not charged. Fewer steps or a smaller size may work."
    ),
    "worker_lost": N_(
        "The engine stopped while making this, again and again, and you were not charged. "
        "Another size or model may work (code {incident})."
    ),
    "interrupted_too_often": N_(
        "The server was restarted too often while this ran, and you were not charged. Please ask again."
    ),
    "internal": N_("Something went wrong here, and you were not charged. Please try again; the code is {incident}."),
    "cancelled": N_("Cancelled; you were not charged."),
}


STOPPED = N_("It was stopped. What was fetched stays for the next time.")
MODEL_REMOVED = N_(
    "The model {model} was taken away before this could run, and you were not charged. "
    "Please ask again with another model."
)


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
        case errors.DownloadFailed():
            return say(DOWNLOAD_PROBLEMS[error.problem]).format(repo=error.repo, url=error.url, detail=error.detail)
        case errors.ModelRefused():
            return say(MODEL_PROBLEMS[error.problem]).format(model=error.model, detail=error.detail)
        case errors.UserError():
            return _explain_refusal(error, say)
        case errors.ModelRemoved():
            return say(MODEL_REMOVED).format(model=error.model)
        case errors.EaselError():
            sentence = ENGINE_SENTENCES.get(error.code, ENGINE_SENTENCES["internal"])
            return say(sentence).format(incident=incident or "-")
    return say(ENGINE_SENTENCES["internal"]).format(incident=incident or "-")


def _explain_option(error: errors.InvalidOption, say: Say) -> str:
    hint = say(" Did you mean {nearest}?").format(nearest=error.nearest) if error.nearest else ""
    return say(OPTION_PROBLEMS[error.problem]).format(
        option=clean_text(error.option),
        value=_shown(error.value, say),
        allowed=_allowed(error.allowed, say),
        nearest=error.nearest,
        hint=hint,
    )


_RANGE = re.compile(r"(\S+) to (\S+)")
_BOUND = re.compile(r"at (least|most) (\S+)")
ALLOWED = frozenset(
    {
        *("text", "yes or no", "a whole number", "a number", "less for a picture as large as this one"),
        *("WIDTHxHEIGHT, such as 512x512", "WIDTH:HEIGHT, such as 3:2"),
    }
)
"""Words for what is allowed that are no figures and no names."""


def _allowed(allowed: str, say: Say) -> str:
    """What is allowed, in the person's language: a range, a bound, or words that are known here."""
    if found := _RANGE.fullmatch(allowed):
        return say("{low} to {high}").format(low=found[1], high=found[2])
    if found := _BOUND.fullmatch(allowed):
        bound = say("at least {n}") if found[1] == "least" else say("at most {n}")
        return bound.format(n=found[2])
    return say(allowed) if allowed in ALLOWED else allowed


def _shown(value: object, say: Say) -> str:
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


def _explain_refusal(error: errors.UserError, say: Say) -> str:
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
        case errors.PictureGone():
            return say("Its picture is no longer kept here.")
        case errors.NotYours():
            return say("Only the person who asked for it can do that.")
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
        case errors.AdminsOnly():
            return say("Only an admin of this house may do that.")
        case errors.Blocked():
            return say(BLOCKED[error.reason]).format(detail=error.detail)
        case errors.StorageFull():
            return say("The server's disk is full, so nothing was taken on. The owner has to make room first.")
        case errors.StorageBusy():
            return say("The database is held by another program, so nothing was saved: try again in a moment.")
        case errors.ShuttingDown():
            return say("The server is just restarting: try again in a moment.")
    return say("This was refused ({code}).").format(code=error.code)


UNAUTHORIZED: Mapping[str, str] = {
    "key": N_(
        "This needs a valid API key: send it as Authorization: Bearer KEY. "
        "The owner makes one with `easel keys create`."
    ),
    "host": N_("Without an API key this server only answers at its own loopback address."),
    "origin": N_("Another web site may not use this server without an API key."),
    "forwarded": N_("Requests through a proxy need an API key: the owner makes one with `easel keys create`."),
}


PROMPT_TOO_LONG = N_("The prompt is longer than this model reads; the end was left out.")
WEIGHTS_UNREAD = N_("This model reads no weights: the prompt was read as plain words.")
PICTURE_BLANKED = N_("The model's own filter blanked the picture.")
UNKNOWN_WORDS = N_("I don't know: {words}")
UNCHECKED = N_("Nobody checked this picture: what checks them is missing. `easel models use` fetches it.")


def say_note(note: str, locale: str = "en") -> str:
    """A note that an engine made, in the person's language."""
    say = translator(locale)
    if note in (PROMPT_TOO_LONG, WEIGHTS_UNREAD, PICTURE_BLANKED, UNCHECKED):
        return say(note)
    start, _ = UNKNOWN_WORDS.split("{words}")
    return say(UNKNOWN_WORDS).format(words=note.removeprefix(start)) if note.startswith(start) else note


DEMO_HINT = N_(
    "Demo model: 232 objects and 12 colours at 128 px, to prove your installation. For real pictures: `easel setup`."
)

_NAMES = (
    N_("job"), N_("picture"), N_("key"), N_("person"), N_("MiB"), N_("megapixels"),
    *(N_("queued"), N_("running"), N_("rendered"), N_("delivered"), N_("failed"), N_("cancelled"), N_("dead")),
    *(N_("text-to-image"), N_("image-to-image"), N_("image-text-to-image"), N_("image-to-text")),
    *(N_("visual-question-answering"), N_("zero-shot-image-classification"), N_("demo")),
)  # fmt: skip
"""Names that sentences are filled in with."""
