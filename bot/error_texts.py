"""Error sentences, translated through gettext catalogues (`bot/locales/`), with English as the source.

`explain` turns an error into one short sentence that says what to do. It never shows a traceback or a path.
"""

import math
import re
from collections.abc import Mapping

from bot import errors
from bot.i18n import N_, Translate, translator
from bot.options import clean_excerpt
from bot.problem_texts.access_problems import UNAUTHORIZED
from bot.problem_texts.adapter_problems import ADAPTER_PROBLEMS, NOT_USED, SWITCHED_OFF
from bot.problem_texts.best_problems import BEST_PROBLEMS, LOW_MATCH, UNJUDGED, UNRANKED
from bot.problem_texts.collection_problems import COLLECTION_PROBLEMS
from bot.problem_texts.enhancing_problems import ENHANCED, ENHANCING_PROBLEMS, NOT_ENHANCED
from bot.problem_texts.grid_problems import AXIS_REFUSED, GRID_PROBLEMS, AxisRefused
from bot.problem_texts.image_problems import IMAGE_PROBLEMS, NO_ANSWER
from bot.problem_texts.link_problems import LINK_PROBLEMS, NOTHING_FOUND, TOO_MANY_CODES, LinkRefused, TooManyCodes
from bot.problem_texts.model_problems import DOWNLOAD_PROBLEMS, DRAWING_PROBLEMS, IN_BFLOAT16, MODEL_PROBLEMS
from bot.problem_texts.people_problems import BLOCKED_PERSON, PEOPLE_PROBLEMS
from bot.problem_texts.plugin_problems import BLOCKED_BY_PLUGINS, PLUGIN_PROBLEMS, PluginRefused, format_plugin_note
from bot.problem_texts.region_problems import REGION_PROBLEMS
from bot.problem_texts.training_problems import TRAINING_PROBLEMS

OPTION_PROBLEMS: Mapping[str, str] = {
    "unknown": N_("Unknown option {option}.{hint} Options: {allowed}."),
    "missing": N_("{option} is required."),
    "empty": N_("{option} is empty."),
    "range": N_("{option} is {value}, but must be {allowed}."),
    "choice": N_("{option} cannot be {value}.{hint} Choose one of: {allowed}."),
    "type": N_("{option} is {value}, but must be {allowed}."),
    "long": N_("{option} has {value} characters; the limit is {allowed}. Please shorten it."),
    "twice": N_("{option} was given twice; give it once."),
    "no_value": N_("{option} needs a value."),
    **PEOPLE_PROBLEMS,
    "count": N_("{option} has {value} texts, but must have {allowed}, separated by |."),
    "no_text": N_("This command accepts no text, only options: {allowed}."),
    "multiple": N_("{option} is {value}, but must be a multiple of {allowed}; try {nearest}."),
    "size_twice": N_("Give the size once: either {option}, or width and height."),
    **IMAGE_PROBLEMS,
    **COLLECTION_PROBLEMS,
    **ENHANCING_PROBLEMS,
    **BEST_PROBLEMS,
    **GRID_PROBLEMS,
    "needs_init": N_("{option} only works with an input picture: attach one, or leave {option} out."),
    "model_lacks": N_("The model {value} does not support {option}: leave it out, or choose another model."),
    "cannot_refine": N_(
        "The model {value} cannot refine at this size: it draws {allowed} px a side, in multiples of {nearest}. "
        "Leave {option} out to resize only."
    ),
    **DRAWING_PROBLEMS,
    **ADAPTER_PROBLEMS,
    **REGION_PROBLEMS,
    "no_model": N_("No installed model can do {value}; the owner can add one."),
    "default_lacks": N_(
        "The model {value} cannot do that. Models here that can, if you name one: {allowed}. "
        "The owner can add another: `easel models use {nearest}`."
    ),
    "default_lacks_all": N_("The model {value} cannot do that. Models here that can, if you name one: {allowed}."),
    "combinations": N_("The prompt has too many combinations; the limit is {allowed}."),
    "wildcard": N_("There is no wildcard {value}. Available: {allowed}."),
    "no_wildcards": N_(
        "There is no wildcard {value}: none are installed. Leave it out of the prompt; the owner can add text files to "
        "the folder wildcards in the data directory."
    ),
    "wildcard_empty": N_("The wildcard {value} has no entries."),
    "wildcards": N_("The wildcards of {option} nest too deeply; at most {allowed} are expanded."),
    "no_webhooks": N_("No webhooks are set up on this server: leave {option} out."),
    "no_styles": N_("No styles are defined here: leave {option} out."),
    "lora": N_("There is no LoRA {value}.{hint} Those for this model: {allowed}."),
    "no_lora": N_(
        "There is no LoRA {value}: no LoRA for this model is installed. Leave it out of the prompt; the owner can add "
        "one with `easel models add`."
    ),
    "lora_fits": N_("The LoRA {value} is for a different base model. Those for this one: {allowed}."),
    "lora_fits_not": N_("The LoRA {value} is for a different base model, and no installed LoRA fits this one."),
    "lora_weight": N_("The weight of the LoRA {value} must be one number, {allowed}."),
    "loras": N_("The prompt uses too many LoRAs; the limit is {allowed}."),
    "edits": N_(
        "The {option} changes too often: brackets such as [a:b:0.5] and [a|b] may give it at most {allowed} different "
        "texts."
    ),
    "edits_long": N_(
        "The {option} is too long to change so often: its different texts have {value} characters in all; the limit is "
        "{allowed}. Please shorten it, or use fewer brackets such as [a:b:0.5] and [a|b]."
    ),
    "addition_broken": N_("{value} cannot be used with this model: leave it out, or choose another model."),
    "needs_quote": N_(
        "The prompt expands to {value} pictures. Request a quote first, and send it with the job to confirm."
    ),
    "needs_confirm": N_(
        "This makes {value} pictures and uses {allowed} device-seconds. "
        "To confirm, send it again with the option confirm (as a flag: --confirm)."
    ),
    "needs_confirm_free": N_(
        "This makes {value} pictures. To confirm, send it again with the option confirm (as a flag: --confirm)."
    ),
    "quote": N_("The quote no longer matches this request: ask for a new one."),
    "body": N_("{option} is invalid: {allowed}."),
    "key_long": N_("An Idempotency-Key is 1 to {allowed} visible characters."),
}

EXAMPLES: Mapping[str, str] = {
    "prompt": N_("Add a prompt, for example: a red fox."),
    "question": N_("Add a question, for example: what is this?"),
    "texts": N_("Add texts with | between them, for example: a fox | a cat."),
    "x": N_("A grid needs an axis: an option and its values, for example x: steps=4,8."),
}
"""Instead of "missing", by the option's name."""
SIZE_RANGE = N_("Each side must be {allowed} pixels; you asked for {value}.")

MEDIA_PROBLEMS: Mapping[str, str] = {
    "empty": N_("The file is empty. Please send the picture again."),
    "not_a_picture": N_("This file is not a picture. Please send a PNG, JPEG, WebP, AVIF or GIF."),
    "format": N_("{found} files are not supported. Please send a PNG, JPEG, WebP, AVIF or GIF."),
    "heic": N_(
        "HEIC photos cannot be read here: please send a JPEG or PNG. The owner can install what reads them: "
        "`.venv/bin/uv pip install -e '.[heif]'` in Easel's folder, then a restart."
    ),
    "damaged": N_("The picture is damaged or incomplete. Send it again, or re-save it first."),
    "slow": N_("The picture took too long to decode. Please send a smaller one."),
    "unavailable": N_("I couldn't download the picture. Please send it again."),
}

BLOCKED: Mapping[str, str] = {
    "words": N_("Your prompt contains blocked words. Please rephrase it."),
    "minors": N_("Sexual content involving minors is never allowed. Please ask for something else."),
    "nsfw": N_("The result isn't allowed here, so it was deleted; you weren't charged. Try a different prompt."),
    "enhanced": N_("The richer prompt isn't allowed here; you weren't charged. Rephrase yours, or leave enhance out."),
    "picture": N_("I can't work with this picture; you weren't charged. Try another one."),
    "unchecked": N_(
        "The result could not be checked for adult content, so it was deleted; you weren't charged. "
        "Try again later, and tell the owner if it keeps happening."
    ),
    "no_classifier": N_(
        "{detail} isn't open to everyone yet: its safety checker isn't installed. Please ask an admin. "
        "(Admins: `easel models use {detail}` installs it.)"
    ),
    "no_check": N_(
        "Your picture can't be checked for adult content here: the safety checker isn't installed. Please ask an "
        "admin. (Admins: `easel models use NAME` installs it with any model.)"
    ),
    "others": N_(
        "Editing other people's pictures is turned off here. Send your own picture, or ask an admin to allow it."
    ),
    "adult_here": N_("This picture can't be shown here. You can see it where it was made."),
    "admins": N_("Only this bot's admins can do that. Ask the owner."),
    "person": BLOCKED_PERSON,
    **BLOCKED_BY_PLUGINS,
}
"""`detail` is filled in where the sentence names it."""

ENGINE_SENTENCES: Mapping[str, str] = {
    "engine_failed": N_(
        "Something went wrong; you weren't charged. Please try again. "
        "If it fails again, give the owner the code {incident}."
    ),
    "model_unavailable": N_(
        "The model could not be loaded; you weren't charged. The owner can look up why (code {incident})."
    ),
    "out_of_memory": N_("The device ran out of memory; you weren't charged. Try a smaller size or fewer pictures."),
    "timeout": N_("This exceeded the time limit; you weren't charged. Try fewer steps or a smaller size."),
    "worker_lost": N_(
        "The engine crashed repeatedly on this; you weren't charged. Try another size or model (code {incident})."
    ),
    "interrupted_too_often": N_(
        "The server restarted too many times while this was running; you weren't charged. Please try again."
    ),
    "internal": N_("Something went wrong; you weren't charged. Please try again (code {incident})."),
    "cancelled": N_("Cancelled; you weren't charged."),
}


STOPPED = N_("Cancelled. Partial files are kept for resuming.")
MODEL_REMOVED = N_(
    "The model {model} was removed before your job ran; you weren't charged. Please try again with another model."
)

MAX_SHOWN = 60
"""Characters of what was given that a sentence repeats."""
_SIZE = re.compile(r"[0-9]{1,9}x[0-9]{1,9}")


def explain(error: BaseException, *, locale: str = "en", incident: str = "") -> str:
    """The sentence for a person."""
    translate = translator(locale)
    match error:
        case errors.NoModel():
            return translate(error.sentence)
        case AxisRefused():
            return translate(AXIS_REFUSED).format(
                axis=error.option.lstrip("-"),
                place=clean_excerpt(error.place, 2 * MAX_SHOWN),
                reason=explain(error.reason, locale=locale),
            )
        case errors.InvalidOption():
            return _explain_option(error, translate)
        case errors.UnknownCommand():
            hint = translate(" Did you mean {nearest}?").format(nearest=error.nearest) if error.nearest else ""
            known = ", ".join(error.known)
            return translate("Unknown command {name}.{hint} Commands: {known}.").format(
                name=clean_excerpt(error.name, MAX_SHOWN), hint=hint, known=known
            )
        case errors.UnsupportedMedia():
            return translate(MEDIA_PROBLEMS[error.problem]).format(found=error.found)
        case errors.DownloadFailed():
            return translate(DOWNLOAD_PROBLEMS[error.problem]).format(
                repo=error.repo, url=error.url, detail=error.detail
            )
        case errors.ModelRefused():
            return translate(MODEL_PROBLEMS[error.problem]).format(model=error.model, detail=error.detail)
        case errors.TrainingRefused():
            return translate(TRAINING_PROBLEMS[error.problem]).format(**error.data)
        case PluginRefused():
            name = clean_excerpt(error.name, MAX_SHOWN)
            return translate(PLUGIN_PROBLEMS[error.problem]).format(name=name, detail=error.detail)
        case LinkRefused():
            return translate(LINK_PROBLEMS[error.problem])
        case TooManyCodes():
            return translate(TOO_MANY_CODES).format(minutes=math.ceil(error.retry_after_s / 60))
        case errors.UserError():
            return _explain_refusal(error, translate)
        case errors.ModelRemoved():
            return translate(MODEL_REMOVED).format(model=error.model)
        case errors.EaselError():
            sentence = ENGINE_SENTENCES.get(error.code, ENGINE_SENTENCES["internal"])
            return translate(sentence).format(incident=incident or "-")
    return translate(ENGINE_SENTENCES["internal"]).format(incident=incident or "-")


def _explain_option(error: errors.InvalidOption, translate: Translate) -> str:
    if error.problem == "missing" and error.option in EXAMPLES:
        return translate(EXAMPLES[error.option])
    hint = translate(" Did you mean {nearest}?").format(nearest=error.nearest) if error.nearest else ""
    if error.option == "size" and error.problem == "range":
        return translate(SIZE_RANGE).format(allowed=_format_allowed(error.allowed, translate), value=error.value)
    return translate(OPTION_PROBLEMS[error.problem]).format(
        option=clean_excerpt(error.option, MAX_SHOWN),
        value=_format_value(error.value, translate),
        allowed=_format_allowed(error.allowed, translate),
        nearest=error.nearest,
        hint=hint,
    )


_RANGE = re.compile(r"(\S+) to (\S+)")
_BOUND = re.compile(r"at (least|most) (\S+)")
ALLOWED = frozenset(
    {
        *("text", "yes or no", "a whole number", "a number", "a smaller scale for a picture of this size"),
        *("WIDTHxHEIGHT, such as 512x512", "WIDTH:HEIGHT, such as 3:2"),
    }
)
"""Allowed values that are words rather than numbers or names."""


def _format_allowed(allowed: str, translate: Translate) -> str:
    """The allowed values in the person's language: a range, a bound, or known words."""
    if found := _RANGE.fullmatch(allowed):
        return translate("{low} to {high}").format(low=found[1], high=found[2])
    if found := _BOUND.fullmatch(allowed):
        bound = translate("at least {n}") if found[1] == "least" else translate("at most {n}")
        return bound.format(n=found[2])
    return translate(allowed) if allowed in ALLOWED else allowed


def _format_value(value: object, translate: Translate) -> str:
    """The given value, shortened, without invisible characters."""
    match value:
        case str() if _SIZE.fullmatch(value):
            return value
        case str():
            return f"\u201c{clean_excerpt(value, MAX_SHOWN)}\u201d"
        case bool():
            return str(value).lower()  # as it is written in JSON, in flags and in TOML
        case int() if value.bit_length() > 200:
            return translate("a huge number")
        case list() | tuple():
            return translate("a list")
        case dict():
            return translate("an object")
    return str(value)[:60]


def _explain_refusal(error: errors.UserError, translate: Translate) -> str:
    match error:
        case errors.QuotaExceeded():
            return translate(
                "Today's allowance of {limit:g} device-seconds does not cover this ({cost:g} needed, {left:g} left). "
                "It resets at {time} UTC."
            ).format(
                limit=error.limit,
                cost=error.cost,
                left=max(0.0, error.left),
                time=f"{error.resets_at:%H:%M}",
            )
        case errors.UploadQuotaExceeded():
            return translate(
                "Your pictures of the last 24 hours use {used:.0f} of {limit:.0f} MiB, so this one was not stored. "
                "Send a smaller one, or try again in {hours} h."
            ).format(used=error.used_mb, limit=error.limit_mb, hours=-(-error.retry_after_s // 3600))
        case errors.QueueFull(is_global=True):
            return translate("The queue is full right now. Try again in {s} s.").format(s=error.retry_after_s)
        case errors.QueueFull():
            return translate(
                "You have {limit} unfinished jobs, the limit per person. Wait for one to finish, or cancel one."
            ).format(limit=error.limit)
        case errors.NotFound(name=""):
            return translate(NOTHING_FOUND.get(error.kind, NOTHING_FOUND[""]))
        case errors.NotFound():
            return translate("You have no {kind} called {name}.").format(
                kind=translate(error.kind), name=clean_excerpt(error.name, 20) or "?"
            )
        case errors.ImageGone():
            return translate("Its picture has been deleted.")
        case errors.NotYours():
            return translate("Only the person who asked for it can do that.")
        case errors.NotCancellable():
            return translate("The job {id} can no longer be cancelled: it is {state}.").format(
                id=error.job_id, state=translate(error.state)
            )
        case errors.IdempotencyConflict():
            return translate(
                "This Idempotency-Key was already used for a different request: use a new key for a new request."
            )
        case errors.TooLarge() if error.heic_limit > error.limit:
            return translate("The picture is too large: at most {limit:g} {unit}, or {heic:g} in HEIC.").format(
                limit=error.limit, unit=translate(error.unit), heic=error.heic_limit
            )
        case errors.TooLarge():
            return translate("The picture is too large: at most {limit:g} {unit}.").format(
                limit=error.limit, unit=translate(error.unit)
            )
        case errors.Unauthorized():
            return translate(UNAUTHORIZED.get(error.problem, UNAUTHORIZED["key"]))
        case errors.AdminsOnly():
            return translate("Only this bot's admins can do that.")
        case errors.Blocked():
            return translate(BLOCKED[error.reason]).format(detail=error.detail)
        case errors.NoAnswer():
            return translate(NO_ANSWER)
        case errors.StorageFull():
            return translate(
                "The server's disk is full, so the request was not accepted. The owner needs to free some space."
            )
        case errors.StorageBusy():
            return translate("The database is locked by another program, so nothing was saved. Try again in a moment.")
        case errors.ShuttingDown():
            return translate("The server is restarting. Try again in a moment.")
    return translate("This was refused ({code}).").format(code=error.code)


PROMPT_TOO_LONG = N_("The prompt is longer than this model supports; the end was cut off.")
WEIGHTS_UNREAD = N_("This model ignores prompt weights; the prompt was used as plain text.")
MASK_COVERS_ALL = N_("The mask covers the whole picture, so all of it was repainted.")
NO_TEXT_FITS = N_("None of these texts fits the picture; the shares only compare them with one another.")
NO_PERSON = N_("I can't see a person in this picture.")
PICTURE_BLANKED = N_("The model's built-in safety filter blanked the picture.")
WEIGHTS_CAPPED = N_("Nested prompt weights multiply to more than 5 here; 5 was used.")
UNKNOWN_WORDS = N_("The model does not know these words: {words}")
EDITS_UNREAD = N_("This model keeps one prompt for all steps; all choices in brackets were read as words: {words}")
READ_AS_WORDS = N_("This is not prompt syntax here and was read as words: {words}")
NOT_SEEN = N_("Not in the picture, so it was left out: {words}")
READ_AS = N_("The demo model only knows things on a ground, so it was told: {words}")
ENLARGED_FIRST = N_("Enlarged first by: {words}")
TAGS_LEFT_OUT = N_("These tags have no effect and were left out: {words}")
UNCHECKED = N_(
    "This picture was not checked for adult content: the safety checker isn't installed. "
    "(Admins: `easel models use NAME` installs it with any model.)"
)
_PLAIN_NOTES = frozenset(
    (
        *(PROMPT_TOO_LONG, WEIGHTS_UNREAD, WEIGHTS_CAPPED, MASK_COVERS_ALL, NO_TEXT_FITS, NO_PERSON, PICTURE_BLANKED),
        *(UNCHECKED, UNRANKED, UNJUDGED, NOT_ENHANCED),
    )
)


def format_note(note: str, locale: str = "en") -> str:
    """An engine's note in the person's language."""
    translate = translator(locale)
    if note in _PLAIN_NOTES:
        return translate(note)
    known = (
        *(UNKNOWN_WORDS, EDITS_UNREAD, READ_AS_WORDS, TAGS_LEFT_OUT, NOT_SEEN, READ_AS, ENLARGED_FIRST, IN_BFLOAT16),
        *(SWITCHED_OFF, NOT_USED, LOW_MATCH, ENHANCED),
    )
    for template in known:
        start = template.removesuffix("{words}")
        if note.startswith(start):
            return translate(template).format(words=note.removeprefix(start))
    return format_plugin_note(note, translate) or note


DEMO_HINT = N_(
    "Demo model: 232 objects and 12 colours at 128 px, to verify your installation. "
    "For real results, run `easel setup`."
)
