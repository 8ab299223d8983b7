"""What buttons ask for, the same on every platform. Who may press them, and where, each adapter checks first."""

import re
from contextlib import suppress

from bot.chat import texts
from bot.chat.buttons import Button
from bot.chat.canvas_actions import CANVAS_ACTIONS, canvas_options
from bot.chat.help_texts import EXAMPLES
from bot.commands import Imagine
from bot.errors import InvalidOption, JobNotFound, NotYours
from bot.jobs import Job, Origin
from bot.models import REFERENCE_KINDS
from bot.options import pop_flag
from bot.ports import Person
from bot.usecases import Request, Ticket, UseCases

JOB_ACTIONS = frozenset({"reroll", "vary", "upscale", "pick"}) | CANVAS_ACTIONS
"""Actions that ask for a job without any words."""


PROMPTED_ACTIONS = frozenset({"remix", "style", "subject"})
"""Actions that ask for a job with another prompt, which is typed in place of the job's own."""
WORDED_ACTIONS = frozenset({"ask", "edit", "region"}) | PROMPTED_ACTIONS
"""Actions that ask for a job with a question, an instruction, a part and what to paint there, or another prompt."""
_AFTER_REGION = re.compile(r"\s*(?::|\n|->|\u2192)\s*")


async def run_worded_follow_up(
    usecases: UseCases, person: Person, origin: Origin, button: Button, text: str, key: str
) -> list[Ticket]:
    """Ask for the job of a button whose action is in `WORDED_ACTIONS`. Raises as `run_follow_up` does."""
    chat, job_id, picture = usecases.chat, button.job_id, button.number
    match button.action:
        case "ask":
            return await chat.ask(person, origin, job_id, text, picture=picture, key=key)
        case "edit":
            return await chat.edit(person, origin, job_id, text, picture=picture, key=key)
        case "region":
            region, prompt = split_region(text)
            return await chat.edit(person, origin, job_id, prompt, region=region, picture=picture, key=key)
    prompt, is_confirmed = pop_flag(text, "confirm")
    if button.action in REFERENCE_KINDS:
        return await chat.refer(
            person, origin, job_id, button.action, prompt, picture=picture, is_confirmed=is_confirmed, key=key
        )
    return await chat.remix(person, origin, job_id, prompt, picture=picture, is_confirmed=is_confirmed, key=key)


def split_region(text: str) -> tuple[str, str]:
    """The part and what to paint there, of "the hat: a crown". Raises: InvalidOption."""
    region, *rest = _AFTER_REGION.split(text, maxsplit=1)
    if not region.strip() or not "".join(rest).strip():
        raise InvalidOption("region", "region_form")
    return region.strip(), rest[0].strip()


def join_region(region: str, prompt: str) -> str:
    """What `split_region` takes apart."""
    return f"{_AFTER_REGION.sub(' ', region).strip()}: {prompt}"


async def run_follow_up(usecases: UseCases, person: Person, origin: Origin, button: Button, key: str) -> list[Ticket]:
    """Ask for the job of a button whose action is in `JOB_ACTIONS`. `key`: the idempotency key of the press.

    Raises: what `JobUseCases.submit` does, JobNotFound, PictureGone.
    """
    chat = usecases.chat
    match button.action:
        case "reroll":
            return await chat.reroll(person, origin, button.job_id, key=key)
        case "vary":
            return await chat.vary(person, origin, button.job_id, picture=button.number, how=button.arg, key=key)
        case "upscale":
            return await chat.upscale(person, origin, button.job_id, picture=button.number, key=key)
        case command if command in CANVAS_ACTIONS:
            options = canvas_options(command, button.arg)
            return await chat.outpaint(person, origin, button.job_id, command, options, picture=button.number, key=key)
    if button.is_example:
        return await _run_example(usecases, person, origin, button.number, key)
    return await chat.pick(person, origin, button.job_id, button.number, key=key)


async def _run_example(usecases: UseCases, person: Person, origin: Origin, number: int, key: str) -> list[Ticket]:
    if number > len(EXAMPLES):
        raise JobNotFound("")
    request = Request(
        origin=origin,
        command=Imagine.name,
        options={"prompt": EXAMPLES[number - 1]},
        wants_delivery=True,
        use_defaults=True,
    )
    return await usecases.jobs.submit(person, request, key=key)


async def delete_job(
    usecases: UseCases, person: Person, platform: str, button: Button, message_ref: str
) -> set[str] | None:
    """Delete a job by the button under one of its messages; returns the messages that go with it.

    None: the button no longer works, or was forged: the message belongs to another job. First the data goes, then the
    messages: a job without messages would still be in the history. Raises: NotYours.
    """
    shown = await usecases.chat.job_of_message(platform, message_ref) if message_ref else None
    if shown is not None and shown.id != button.job_id:
        return None
    if shown is not None and shown.owner != person.id:
        raise NotYours(shown.id)
    try:
        if button.number and await _is_one_of_several(usecases, button):
            return await _delete_picture(usecases, person, platform, button, message_ref)
        refs = await usecases.chat.message_refs(button.job_id, platform)
        await usecases.chat.delete_job(person, button.job_id, platform=platform)
    except JobNotFound:
        return None
    return {message_ref, *refs} - {""}


async def _is_one_of_several(usecases: UseCases, button: Button) -> bool:
    """False also once the job is erased: deleting it may be repeated for a message that stayed."""
    with suppress(JobNotFound):
        return (await usecases.chat.get_job(button.job_id)).has_several_pictures
    return False


async def _delete_picture(
    usecases: UseCases, person: Person, platform: str, button: Button, message_ref: str
) -> set[str]:
    """Delete one of several pictures and the messages that show only it, with the last of them all of the job's; else
    the job's own message is delivered again."""
    chat, job_id = usecases.chat, button.job_id
    of_job = await chat.message_refs(job_id, platform)
    refs = await chat.message_refs(job_id, platform, picture=button.number)
    before = await usecases.pictures.delete_picture(person, job_id, button.number, retracts=True, besides=platform)
    is_last = before.result is not None and {one.number for one in before.result.media} <= {button.number}
    pressed = {message_ref} - {"", *of_job}  # a message that only the person sees
    return pressed | set(of_job if is_last else refs)


async def toggle_favourite(usecases: UseCases, person: Person, button: Button, locale: str) -> str:
    """What the star button did, as a sentence. Raises: JobNotFound, NotFound, NotYours."""
    is_favourite = await usecases.pictures.toggle_favourite(person, button.job_id, button.number)
    return texts.format_text(texts.STARRED if is_favourite else texts.UNSTARRED, locale)


async def shows_job(usecases: UseCases, person: Person, platform: str, button: Button, message_ref: str) -> bool:
    """Whether the message above the button is one of the button's job; of the person's own job, any message may be."""
    shown = await usecases.chat.job_of_message(platform, message_ref) if message_ref else None
    if shown is not None:
        return shown.id == button.job_id
    with suppress(JobNotFound):
        return (await usecases.chat.get_job(button.job_id)).owner == person.id
    return False


async def shows_other_job(usecases: UseCases, platform: str, button: Button, message_ref: str) -> bool:
    """Whether the message above the button belongs to another job, so that the button is forged."""
    shown = await usecases.chat.job_of_message(platform, message_ref) if message_ref else None
    return shown is not None and shown.id != button.job_id


async def needs_demo_hint(usecases: UseCases, job: Job) -> bool:
    """Whether the result says that a demo model made it: only the first result of a chat does."""
    model = usecases.models.get(job.model)
    return job.result is not None and model is not None and model.demo and await usecases.chat.is_first_result(job)
