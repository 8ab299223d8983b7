"""Messages: replies to what the bot said, questions about pictures, mentions."""

from adapters.discord import actions, texts
from adapters.discord.events import PLATFORM
from adapters.discord.rendering import is_spoiler
from adapters.discord.responder import Responder
from adapters.discord.views import build_view
from bot.chat import texts as chat_texts
from bot.chat.buttons import Button
from bot.chat.question_detector import is_question
from bot.jobs import Job
from bot.models import IMAGE_TEXT_TO_IMAGE


async def handle_message(turn: Responder) -> None:
    """A message's own pictures come first: whoever sends one along means that one."""
    event = turn.event
    if event.options.get("own"):
        await _handle_images(turn)
        return
    job = await turn.context.usecases.chat.of_message(PLATFORM, event.target) if event.target else None
    if job is not None:
        await _handle_reply_to_job(turn, job)
    elif event.pictures:
        await _handle_images(turn)
    elif event.target:
        await _handle_hidden_image(turn)
    else:
        await turn.reply(chat_texts.say_text(chat_texts.HINT, event.locale))


async def _handle_images(turn: Responder) -> None:
    """Words ask, no words want to know what it is."""
    event = turn.event
    person = await turn.context.identify_person(event)
    images = await turn.context.upload_attachments(person, event.pictures)
    if event.text:
        await actions.submit_job(turn, person, "ask", {"question": event.text}, images)
    else:
        await actions.submit_job(turn, person, "caption", {}, images)


async def _handle_reply_to_job(turn: Responder, job: Job) -> None:
    """To ask again about the same picture, at any depth; a wish about a picture of ours might mean two things."""
    event = turn.event
    if not await turn.context.usecases.chat.pictures_of(job):
        await turn.reply(chat_texts.say_text(texts.NOTHING_TO_ASK_ABOUT, event.locale))
        return
    if not event.text:
        await turn.reply(chat_texts.say_text(chat_texts.HINT, event.locale))
        return
    made_pictures = job.result is not None and bool(job.result.media)
    if made_pictures and not is_question(event.text):
        await _offer_edit_or_ask(turn, job)
        return
    person = await turn.context.identify_person(event)
    origin = event.origin(spoiler=is_spoiler(job))
    tickets = await turn.context.usecases.chat.ask(person, origin, job.id, event.text, key=event.job_key)
    await actions.settle_deferral(turn, tickets)


async def _offer_edit_or_ask(turn: Responder, job: Job) -> None:
    """Edit or Ask; the words stand in the message that this one answers."""
    can_edit = turn.context.usecases.models.default_for(IMAGE_TEXT_TO_IMAGE) is not None
    buttons = [Button("edit", job.id)] if can_edit else []
    view = build_view([*buttons, Button("ask", job.id)], turn.event.locale)
    said = chat_texts.EDIT_OR_ASK if can_edit else chat_texts.ONLY_ASK
    await turn.reply(chat_texts.say_text(said, turn.event.locale), view=view)


async def _handle_hidden_image(turn: Responder) -> None:
    """A reply to somebody else's message whose pictures Discord does not show to bots; or which has none."""
    pictures = await turn.context.find_attachments(turn.event.target, can_be_empty=True)
    if pictures:
        person = await turn.context.identify_person(turn.event)
        images = await turn.context.upload_attachments(person, pictures)
        question = {"question": turn.event.text} if turn.event.text else {}
        await actions.submit_job(turn, person, "ask" if question else "caption", question, images)
        return
    menu = chat_texts.say_text(texts.ASK_ABOUT, turn.event.locale)
    await turn.reply(chat_texts.say_text(texts.IMAGE_HIDDEN, turn.event.locale, menu=menu))
