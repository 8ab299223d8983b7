"""What an event asks for, done through the use cases. Messages are handled in `messages`."""

from contextlib import suppress

from adapters.discord import chat_commands, messages, offers, texts
from adapters.discord.events import PLATFORM, DiscordEvent
from adapters.discord.grid_buttons import press_grid_button
from adapters.discord.job_requests import (
    find_target_job,
    input_images,
    settle_deferral,
    submit_command,
    submit_job,
    submit_plugin_command,
)
from adapters.discord.modals import parse_target
from adapters.discord.responder import Responder
from bot.chat import texts as chat_texts
from bot.chat.buttons import Button, parse_button
from bot.chat.commands import COMMAND_ACTIONS, is_confirmation
from bot.chat.follow_ups import (
    JOB_ACTIONS,
    WORDED_ACTIONS,
    delete_job,
    run_follow_up,
    run_worded_follow_up,
    shows_job,
    shows_other_job,
    toggle_favourite,
)
from bot.chat.grid_actions import refuse_grid
from bot.chat.offers import offer_key
from bot.chat.reporting import report_by_button, report_message
from bot.commands import COMMANDS
from bot.errors import JobNotFound
from bot.jobs import Origin
from bot.models import IMAGE_TO_IMAGE
from bot.options import pop_flag
from bot.ports import Person
from bot.usecases import PluginRequests, Ticket
from bot.usecases.chat import VARY_STRENGTH

SHARED_ACTIONS = JOB_ACTIONS | WORDED_ACTIONS | {"original"}
"""Actions that anybody may take who sees a message of the job."""
JOBLESS_ACTIONS = {"cancel", "delete", "original", "favourite", "report", *COMMAND_ACTIONS}


def creates_job(event: DiscordEvent, plugins: PluginRequests) -> bool:
    """Whether the answer is a job's message, visible to all."""
    match event.kind:
        case "command":
            own = plugins.find_command(event.name)
            return event.name in COMMANDS if own is None else own.makes_job
        case "button":
            button = parse_button(event.name)
            return button is not None and button.action not in JOBLESS_ACTIONS
        case "modal":
            return (parse_target(event.name) or ("",))[0] != "report"
    return True


async def handle_event(responder: Responder) -> None:
    """Raises: UserError."""
    event = responder.event
    match event.kind:
        case "command" if event.name in COMMANDS:
            await _run_command(responder)
        case "command" if responder.usecases.plugins.find_command(event.name) is not None:
            await _run_plugin_command(responder)
        case "command":
            await chat_commands.run_command(responder)
        case "menu":
            await _run_context_menu(responder)
        case "button":
            await _press_button(responder)
        case "modal":
            await _submit_modal(responder)
        case "message":
            await messages.handle_message(responder)


async def _run_command(responder: Responder) -> None:
    event = responder.event
    person = await responder.context.identify_person(event)
    await submit_command(responder, person, event.name, event.options)


async def _run_plugin_command(responder: Responder) -> None:
    person = await responder.context.identify_person(responder.event)
    text = await submit_plugin_command(responder, person)
    if text:
        await responder.reply(text)


async def _run_context_menu(responder: Responder) -> None:
    person = await responder.context.identify_person(responder.event)
    job = await find_target_job(responder)
    event, chat = responder.event, responder.usecases.chat
    await refuse_grid(responder.usecases, PLATFORM, event.target, job)
    picture = await chat.picture_of_message(PLATFORM, event.target) if job is not None else 0
    if event.name == texts.VARY_THIS and job is not None:
        origin = event.origin(spoiler=job.is_spoiler)
        tickets = await chat.vary(person, origin, job.id, picture=picture, key=event.job_key)
        await settle_deferral(responder, tickets)
        return
    await submit_job(responder, person, "caption", {}, await input_images(responder, person, job, picture))


async def _submit_modal(responder: Responder) -> None:
    event = responder.event
    person = await responder.context.identify_person(event)
    button = parse_button(event.name)
    if button is not None and button.action in WORDED_ACTIONS:
        await settle_deferral(responder, await _follow_up_in_words(responder, person, button, event.text))
        return
    action, message = parse_target(event.name) or ("", "")
    if message.partition(":")[0] != event.channel_id:  # a forged form may name a channel that its sender cannot read
        await _reply_expired(responder)
        return
    if action == "report":
        sentence = await report_message(responder.usecases, person, PLATFORM, message, event.text, responder.locale)
        await responder.reply(sentence)
        return
    pictures = await responder.context.find_attachments(message)
    images = await responder.context.upload_attachments(person, pictures)
    if action == "ask":
        await submit_job(responder, person, "ask", {"question": event.text}, images)
        return
    prompt, is_confirmed = pop_flag(event.text, "confirm")
    spoiler = any(one.spoiler for one in pictures)
    can_start = responder.usecases.models.default_for(IMAGE_TO_IMAGE) is not None  # else it is a reference
    options = {"prompt": prompt} | ({"strength": VARY_STRENGTH} if can_start else {})
    await submit_job(responder, person, "imagine", options, images, spoiler=spoiler, is_confirmed=is_confirmed)


async def _press_button(responder: Responder) -> None:
    event = responder.event
    if is_confirmation(event.name):
        await chat_commands.press_confirmation(responder)
        return
    button = parse_button(event.name)
    if button is None:
        await _reply_expired(responder)
        return
    usecases, person = responder.usecases, await responder.context.identify_person(event)
    if button.is_offer:
        if not await offers.take_offer(responder, person, button):
            await _reply_expired(responder)
        return
    if button.is_of_grid:
        if not await press_grid_button(responder, person, button):
            await _reply_expired(responder)
        return
    if button.action in SHARED_ACTIONS and await shows_other_job(usecases, PLATFORM, button, event.target):
        await _reply_expired(responder)
        return
    match button.action:
        case "cancel":
            await usecases.chat.cancel_job(person, button.job_id)
            await responder.delete_deferral()
        case "delete":
            await _delete_job(responder, person, button)
        case "original":
            await chat_commands.send_original(responder, person, button.job_id, button.number)
        case "favourite":
            await responder.reply(await toggle_favourite(usecases, person, button, responder.locale))
        case "report":
            sentence = await report_by_button(usecases, person, PLATFORM, button, event.target, responder.locale)
            await responder.reply(sentence)
        case action if action in WORDED_ACTIONS:
            await settle_deferral(responder, await _follow_up_in_words(responder, person, button, event.text))
        case action if action in COMMAND_ACTIONS:
            if button.shows_picture and not await shows_job(usecases, person, PLATFORM, button, event.target):
                await _reply_expired(responder)
                return
            await chat_commands.press_button(responder, button)
        case action if action in JOB_ACTIONS:
            origin = await _button_origin(responder, button)
            await settle_deferral(responder, await run_follow_up(usecases, person, origin, button, event.job_key))
        case _:
            await _reply_expired(responder)


async def _reply_expired(responder: Responder) -> None:
    await responder.reply(chat_texts.format_text(chat_texts.BUTTON_EXPIRED, responder.locale))


async def _follow_up_in_words(responder: Responder, person: Person, button: Button, text: str) -> list[Ticket]:
    """Under an offer, pressing twice asks once."""
    event, origin = responder.event, await _button_origin(responder, button)
    is_offer = event.kind == "button"
    key = offer_key(PLATFORM, event.target, event.account_id, button) if is_offer else event.job_key
    return await run_worded_follow_up(responder.usecases, person, origin, button, text, key)


async def _button_origin(responder: Responder, button: Button) -> Origin:
    """A follow-up of a spoiler is one too, even of an answer in words."""
    with suppress(JobNotFound):
        return responder.event.origin(spoiler=(await responder.usecases.chat.get_job(button.job_id)).is_spoiler)
    return responder.event.origin()


async def _delete_job(responder: Responder, person: Person, button: Button) -> None:
    event = responder.event
    refs = await delete_job(responder.usecases, person, PLATFORM, button, event.target)
    if refs is None:
        await _reply_expired(responder)
        return
    await responder.delete_messages(refs)
    await responder.delete_deferral()
