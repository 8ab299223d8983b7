"""What an event asks for, done through the use cases. Short answers are in `chores`, messages in `replies`."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from adapters.discord import chat_commands, messages, texts
from adapters.discord.events import PLATFORM, Event
from adapters.discord.modals import read_target
from adapters.discord.rendering import is_spoiler
from adapters.discord.responder import Turn
from bot.chat import texts as chat_texts
from bot.chat.buttons import Button, parse_button
from bot.commands import COMMANDS
from bot.errors import JobNotFound
from bot.jobs import ImageRef, Job, Origin
from bot.options import take_flag
from bot.ports import Person
from bot.usecases import Request, Ticket
from bot.usecases.chat import VARY_STRENGTH

NO_JOBS = ("cancel", "delete", "original")


def asks_for_a_job(event: Event) -> bool:
    """Whether its answer is a job's message, for all to see."""
    match event.kind:
        case "command":
            return event.name in COMMANDS
        case "button":
            button = parse_button(event.name)
            return button is not None and button.action not in NO_JOBS
    return True


async def act(turn: Turn) -> None:
    """Raises: UserError, with the sentence for the person."""
    event = turn.event
    match event.kind:
        case "command" if event.name in COMMANDS:
            await _command(turn)
        case "command":
            await chat_commands.act(turn)
        case "menu":
            await _menu(turn)
        case "button":
            await _button(turn)
        case "modal":
            await _modal(turn)
        case "message":
            await messages.act(turn)


async def _command(turn: Turn) -> None:
    event = turn.event
    person = await turn.desk.person(event)
    images = await turn.desk.upload(person, event.pictures)
    options = dict(event.options)
    is_confirmed = options.pop("confirm", False) is True
    await submit(turn, person, event.name, options, images, is_confirmed=is_confirmed)


async def _menu(turn: Turn) -> None:
    person = await turn.desk.person(turn.event)
    job = await _target_job(turn)
    if turn.event.name == texts.VARY_THIS and job is not None:
        origin = turn.event.origin(spoiler=is_spoiler(job))
        await accepted(turn, await turn.desk.usecases.chat.vary(person, origin, job.id, key=_key(turn)))
        return
    await submit(turn, person, "caption", {}, await images_of(turn, person, job))


async def _modal(turn: Turn) -> None:
    event = turn.event
    person = await turn.desk.person(event)
    button = parse_button(event.name)
    if button is not None and button.action in ("ask", "edit"):
        await accepted(turn, await _with_words(turn, person, button, event.text))
        return
    target = read_target(event.name)
    if target is None:
        await turn.say(chat_texts.say_text(chat_texts.BUTTON_OLD, event.locale))
        return
    action, message = target
    pictures = await turn.desk.pictures_at(message)
    images = await turn.desk.upload(person, pictures)
    if action == "ask":
        await submit(turn, person, "ask", {"question": event.text}, images)
        return
    prompt, is_confirmed = take_flag(event.text, "confirm")
    spoiler = any(one.spoiler for one in pictures)
    options = {"prompt": prompt, "strength": VARY_STRENGTH}
    await submit(turn, person, "imagine", options, images, spoiler=spoiler, is_confirmed=is_confirmed)


async def _button(turn: Turn) -> None:
    event = turn.event
    button = parse_button(event.name)
    if button is None:
        await turn.say(chat_texts.say_text(chat_texts.BUTTON_OLD, event.locale))
        return
    person = await turn.desk.person(event)
    chat, origin, key = turn.desk.usecases.chat, await _origin(turn, button), _key(turn)
    match button.action:
        case "cancel":
            await chat.cancel(person, button.job_id)
            await turn.close()
        case "delete":
            await _delete(turn, person, button)
        case "original":
            await chat_commands.original(turn, person, button.job_id)
        case "reroll":
            await accepted(turn, await chat.reroll(person, origin, button.job_id, key=key))
        case "vary":
            await accepted(turn, await chat.vary(person, origin, button.job_id, key=key))
        case "upscale":
            await accepted(turn, await chat.upscale(person, origin, button.job_id, key=key))
        case "pick":
            await accepted(turn, await chat.pick(person, origin, button.job_id, button.number, key=key))
        case "ask" | "edit":
            await accepted(turn, await _with_words(turn, person, button, event.text))
        case _:
            await turn.say(chat_texts.say_text(chat_texts.BUTTON_OLD, event.locale))


async def _with_words(turn: Turn, person: Person, button: Button, words: str) -> list[Ticket]:
    chat, origin, key = turn.desk.usecases.chat, await _origin(turn, button), _key(turn)
    go_on = chat.ask if button.action == "ask" else chat.edit
    return await go_on(person, origin, button.job_id, words, key=key)


async def _origin(turn: Turn, button: Button) -> Origin:
    """What comes of a spoiler is one, also by way of words that show no picture."""
    with suppress(JobNotFound):
        return turn.event.origin(spoiler=is_spoiler(await turn.desk.usecases.chat.job(button.job_id)))
    return turn.event.origin()


async def _delete(turn: Turn, person: Person, button: Button) -> None:
    """First what is kept, then every message: a job whose messages alone are gone would still be in the history."""
    chat = turn.desk.usecases.chat
    shown = await _target_job(turn)
    if shown is not None and shown.id != button.job_id:
        await turn.say(chat_texts.say_text(chat_texts.BUTTON_OLD, turn.event.locale))
        return
    refs = await chat.messages_of(button.job_id, PLATFORM)
    await chat.delete(person, button.job_id)
    await chat_commands.take_messages_away(turn, refs)
    await turn.close()


# ---------------------------------------------------------------- asking for jobs


async def submit(
    turn: Turn,
    person: Person,
    command: str,
    options: Mapping[str, Any],
    images: Sequence[ImageRef],
    *,
    spoiler: bool = False,
    is_confirmed: bool = False,
) -> None:
    request = Request(
        origin=turn.event.origin(spoiler=spoiler),
        command=command,
        options=dict(options),
        images=tuple(images)[: COMMANDS[command].images_allowed],
        wants_delivery=True,
        use_defaults=True,
        is_confirmed=is_confirmed,
    )
    await accepted(turn, await turn.desk.usecases.jobs.submit(person, request, key=_key(turn)))


async def accepted(turn: Turn, tickets: Sequence[Ticket]) -> None:
    """The placeholder takes the deferral's place; one that an earlier life of the event left is taken away here."""
    turn.desk.forget_recent(turn.event.account_id)
    if all(ticket.job.origin.extra.get("response") != turn.event.response_id for ticket in tickets):
        await turn.close()


async def images_of(turn: Turn, person: Person, job: Job | None) -> tuple[ImageRef, ...]:
    """A job's pictures become the person's too; others are fetched and kept."""
    if job is None:
        return await turn.desk.upload(person, turn.event.pictures)
    return await turn.desk.usecases.chat.pictures_for(person, job.id)


async def _target_job(turn: Turn) -> Job | None:
    if not turn.event.target:
        return None
    return await turn.desk.usecases.chat.of_message(PLATFORM, turn.event.target)


def _key(turn: Turn) -> str:
    return turn.event.job_key
