"""Offers under a person's message, and what is asked for when one of their buttons is pressed."""

from dataclasses import replace

from adapters.discord.events import PLATFORM
from adapters.discord.job_requests import submit_job
from adapters.discord.responder import Responder
from adapters.discord.views import build_view
from bot.chat.buttons import Button
from bot.chat.offers import ButtonOffer, offer_key, offered_request
from bot.commands import COMMANDS
from bot.ports import Person


async def send_offer(responder: Responder, offer: ButtonOffer) -> None:
    """Raises: Blocked: such words are not repeated."""
    await responder.usecases.moderation.check_words(responder.event.account_id, responder.event.text)
    await responder.reply(offer.text, view=build_view(offer.buttons, responder.locale))


async def take_offer(responder: Responder, person: Person, button: Button) -> bool:
    """Ask for it, about the message that the offer replies to, or the one that this answers; then the offer goes.

    False: the message is gone. Raises: UserError, AttachmentUnavailable.
    """
    event = responder.event
    request = offered_request(button, event.text)
    if request is None:
        return False
    key = offer_key(PLATFORM, event.target, event.account_id, button)
    if await responder.usecases.jobs.find_replay(key) is not None:
        await responder.delete_deferral()
        await responder.delete_messages([])
        return True
    command, options = request
    if COMMANDS[command].images_needed and not event.pictures:
        answered = str(event.options.get("answered", ""))
        if not answered:
            return False
        responder.event = replace(event, pictures=await responder.context.find_attachments(answered))
    pictures = responder.event.pictures[:1] if COMMANDS[command].images_needed else ()
    images = await responder.context.upload_attachments(person, pictures)
    await submit_job(responder, person, command, options, images, key=key)
    await responder.delete_messages([])
    return True
