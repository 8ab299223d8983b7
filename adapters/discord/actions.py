"""What an event asks for, done through the use cases. Short answers are in `chores`, messages in `replies`."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from adapters.discord import chat_commands, messages, texts
from adapters.discord.events import PLATFORM, DiscordEvent
from adapters.discord.modals import parse_target
from adapters.discord.rendering import is_spoiler
from adapters.discord.responder import Responder
from bot.chat import texts as chat_texts
from bot.chat.buttons import Button, parse_button
from bot.commands import COMMANDS
from bot.errors import JobNotFound
from bot.jobs import ImageRef, Job, Origin
from bot.options import pop_flag
from bot.ports import Person
from bot.usecases import Request, Ticket
from bot.usecases.chat import VARY_STRENGTH

JOBLESS_ACTIONS = ("cancel", "delete", "original")


def creates_job(event: DiscordEvent) -> bool:
    """Whether its answer is a job's message, for all to see."""
    match event.kind:
        case "command":
            return event.name in COMMANDS
        case "button":
            button = parse_button(event.name)
            return button is not None and button.action not in JOBLESS_ACTIONS
    return True


async def handle_event(turn: Responder) -> None:
    """Raises: UserError, with the sentence for the person."""
    event = turn.event
    match event.kind:
        case "command" if event.name in COMMANDS:
            await _run_command(turn)
        case "command":
            await chat_commands.run_chat_command(turn)
        case "menu":
            await _run_context_menu(turn)
        case "button":
            await _press_button(turn)
        case "modal":
            await _submit_modal(turn)
        case "message":
            await messages.handle_message(turn)


async def _run_command(turn: Responder) -> None:
    event = turn.event
    person = await turn.context.identify_person(event)
    images = await turn.context.upload_attachments(person, event.pictures)
    options = dict(event.options)
    is_confirmed = options.pop("confirm", False) is True
    await submit_job(turn, person, event.name, options, images, is_confirmed=is_confirmed)


async def _run_context_menu(turn: Responder) -> None:
    person = await turn.context.identify_person(turn.event)
    job = await find_target_job(turn)
    if turn.event.name == texts.VARY_THIS and job is not None:
        origin = turn.event.origin(spoiler=is_spoiler(job))
        await settle_deferral(turn, await turn.context.usecases.chat.vary(person, origin, job.id, key=_key(turn)))
        return
    await submit_job(turn, person, "caption", {}, await input_images(turn, person, job))


async def _submit_modal(turn: Responder) -> None:
    event = turn.event
    person = await turn.context.identify_person(event)
    button = parse_button(event.name)
    if button is not None and button.action in ("ask", "edit"):
        await settle_deferral(turn, await _ask_or_edit(turn, person, button, event.text))
        return
    target = parse_target(event.name)
    if target is None:
        await turn.reply(chat_texts.say_text(chat_texts.BUTTON_OLD, event.locale))
        return
    action, message = target
    pictures = await turn.context.find_attachments(message)
    images = await turn.context.upload_attachments(person, pictures)
    if action == "ask":
        await submit_job(turn, person, "ask", {"question": event.text}, images)
        return
    prompt, is_confirmed = pop_flag(event.text, "confirm")
    spoiler = any(one.spoiler for one in pictures)
    options = {"prompt": prompt, "strength": VARY_STRENGTH}
    await submit_job(turn, person, "imagine", options, images, spoiler=spoiler, is_confirmed=is_confirmed)


async def _press_button(turn: Responder) -> None:
    event = turn.event
    button = parse_button(event.name)
    if button is None:
        await turn.reply(chat_texts.say_text(chat_texts.BUTTON_OLD, event.locale))
        return
    person = await turn.context.identify_person(event)
    chat, origin, key = turn.context.usecases.chat, await _button_origin(turn, button), _key(turn)
    match button.action:
        case "cancel":
            await chat.cancel(person, button.job_id)
            await turn.delete_deferral()
        case "delete":
            await _delete_job(turn, person, button)
        case "original":
            await chat_commands.send_original(turn, person, button.job_id)
        case "reroll":
            await settle_deferral(turn, await chat.reroll(person, origin, button.job_id, key=key))
        case "vary":
            await settle_deferral(turn, await chat.vary(person, origin, button.job_id, key=key))
        case "upscale":
            await settle_deferral(turn, await chat.upscale(person, origin, button.job_id, key=key))
        case "pick":
            await settle_deferral(turn, await chat.pick(person, origin, button.job_id, button.number, key=key))
        case "ask" | "edit":
            await settle_deferral(turn, await _ask_or_edit(turn, person, button, event.text))
        case _:
            await turn.reply(chat_texts.say_text(chat_texts.BUTTON_OLD, event.locale))


async def _ask_or_edit(turn: Responder, person: Person, button: Button, words: str) -> list[Ticket]:
    chat, origin, key = turn.context.usecases.chat, await _button_origin(turn, button), _key(turn)
    go_on = chat.ask if button.action == "ask" else chat.edit
    return await go_on(person, origin, button.job_id, words, key=key)


async def _button_origin(turn: Responder, button: Button) -> Origin:
    """What comes of a spoiler is one, also by way of words that show no picture."""
    with suppress(JobNotFound):
        return turn.event.origin(spoiler=is_spoiler(await turn.context.usecases.chat.job(button.job_id)))
    return turn.event.origin()


async def _delete_job(turn: Responder, person: Person, button: Button) -> None:
    """First what is kept, then every message: a job whose messages alone are gone would still be in the history."""
    chat = turn.context.usecases.chat
    shown = await find_target_job(turn)
    if shown is not None and shown.id != button.job_id:
        await turn.reply(chat_texts.say_text(chat_texts.BUTTON_OLD, turn.event.locale))
        return
    refs = await chat.messages_of(button.job_id, PLATFORM)
    await chat.delete(person, button.job_id)
    await chat_commands.delete_messages(turn, refs)
    await turn.delete_deferral()


# ---------------------------------------------------------------- asking for jobs


async def submit_job(
    turn: Responder,
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
    await settle_deferral(turn, await turn.context.usecases.jobs.submit(person, request, key=_key(turn)))


async def settle_deferral(turn: Responder, tickets: Sequence[Ticket]) -> None:
    """The placeholder takes the deferral's place; one that an earlier life of the event left is taken away here."""
    turn.context.forget_recent_jobs(turn.event.account_id)
    if all(ticket.job.origin.extra.get("response") != turn.event.response_id for ticket in tickets):
        await turn.delete_deferral()


async def input_images(turn: Responder, person: Person, job: Job | None) -> tuple[ImageRef, ...]:
    """A job's pictures become the person's too; others are fetched and kept."""
    if job is None:
        return await turn.context.upload_attachments(person, turn.event.pictures)
    return await turn.context.usecases.chat.pictures_for(person, job.id)


async def find_target_job(turn: Responder) -> Job | None:
    if not turn.event.target:
        return None
    return await turn.context.usecases.chat.of_message(PLATFORM, turn.event.target)


def _key(turn: Responder) -> str:
    return turn.event.job_key
