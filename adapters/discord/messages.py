"""Handles messages to the bot: replies, questions about pictures, mentions."""

import asyncio
from dataclasses import replace

from adapters.discord import chat_commands, event_parsing, texts
from adapters.discord.events import PLATFORM
from adapters.discord.job_requests import settle_deferral, submit_job
from adapters.discord.offers import send_offer
from adapters.discord.responder import Responder
from adapters.discord.views import build_view
from bot.chat import help_texts
from bot.chat import texts as chat_texts
from bot.chat.arguments import SLASH
from bot.chat.buttons import Button
from bot.chat.grid_actions import read_reply, show_cell
from bot.chat.offers import offer_drawing, offer_for_image
from bot.chat.plugin_replies import reply_of_plugin
from bot.chat.question_detector import is_question, is_remark
from bot.errors import ImageGone
from bot.jobs import Job
from bot.models import IMAGE_TEXT_TO_IMAGE

PREVIEW_WAIT_S = 2.0


async def handle_message(responder: Responder) -> None:
    """Attached pictures come first: a person who attaches one means that one."""
    event = responder.event
    if event.options.get("own"):
        await _handle_images(responder)
        return
    job = await responder.usecases.chat.job_of_message(PLATFORM, event.target) if event.target else None
    if job is not None:
        await _handle_reply(responder, job)
    elif event.pictures:
        await _handle_images(responder)
    elif event.target:
        await _handle_hidden_image(responder)
    elif await _find_late_previews(responder):
        await _handle_images(responder)
    else:
        await _reply_hint(responder)


async def _find_late_previews(responder: Responder) -> bool:
    """Discord adds the preview of a link a moment after the message."""
    event = responder.event
    if event_parsing.LINK.search(event.text) is None:
        return False
    await asyncio.sleep(PREVIEW_WAIT_S)
    pictures = await responder.context.find_attachments(f"{event.channel_id}:{event.message_id}", can_be_empty=True)
    text = "" if event_parsing.LINK.fullmatch(event.text) else event.text
    responder.event = replace(event, pictures=pictures, text=text) if pictures else event
    return bool(pictures)


async def _handle_images(responder: Responder) -> None:
    """Text is a question, unless it may ask for a change; without text the pictures are captioned."""
    event = responder.event
    offer = offer_for_image(event.text, responder.usecases.models, event.locale)
    if offer is not None:
        await send_offer(responder, offer)
        return
    person = await responder.context.identify_person(event)
    images = await responder.context.upload_attachments(person, event.pictures)
    if event.text:
        await submit_job(responder, person, "ask", {"question": event.text}, images)
    else:
        await submit_job(responder, person, "caption", {}, images)


async def _handle_reply(responder: Responder, job: Job) -> None:
    """A reply to a grid names one of its pictures."""
    event, usecases = responder.event, responder.usecases
    named = await read_reply(usecases, PLATFORM, event.target, event.text, event.locale) if job.batch else None
    if named is None:
        picture = await usecases.chat.picture_of_message(PLATFORM, event.target)
        await _handle_reply_to_job(responder, job, picture)
    elif named.cell is None:
        if not is_remark(event.text):
            await responder.reply(named.sentence)
    elif named.text and named.cell.is_made:
        responder.event = replace(event, text=named.text)
        await _handle_reply_to_job(responder, named.cell.job, 1)
    else:
        reply = await show_cell(await chat_commands.build_context(responder), named.cell)
        await chat_commands.answer_with_picture(responder, reply)


async def _handle_reply_to_job(responder: Responder, job: Job, picture: int) -> None:
    """A question is asked about the job's picture, at any depth; other text may be a question or an edit.

    `picture`: the message shows this one of several.
    """
    event = responder.event
    images = await responder.usecases.chat.images_of(job)
    if not images and job.result is not None:
        raise ImageGone
    if not images:
        await responder.reply(chat_texts.format_text(texts.NOTHING_TO_ASK_ABOUT, event.locale))
        return
    if not event.text:
        await _reply_hint(responder)
        return
    if is_remark(event.text):
        return
    made_images = job.result is not None and bool(job.result.media)
    if made_images and not is_question(event.text):
        await _offer_edit_or_ask(responder, job, picture)
        return
    person = await responder.context.identify_person(event)
    origin = event.origin(spoiler=job.is_spoiler)
    chat = responder.usecases.chat
    tickets = await chat.ask(person, origin, job.id, event.text, picture=picture, key=event.job_key)
    await settle_deferral(responder, tickets)


async def _reply_hint(responder: Responder) -> None:
    if responder.event.options.get("is_hidden") and responder.event.guild_id:
        await responder.reply(chat_texts.format_text(texts.MESSAGE_HIDDEN, responder.locale))
        return
    if answer := await _ask_plugins(responder):
        await responder.reply(answer)
        return
    offer = offer_drawing(responder.event.text, responder.usecases.models, responder.locale)
    if offer is not None:
        await send_offer(responder, offer)
    elif responder.event.options.get("is_unreadable"):
        await responder.reply(chat_texts.format_text(chat_texts.ONLY_PICTURES, responder.locale))
    else:
        await responder.reply(help_texts.format_hint(responder.usecases.models, responder.locale, style=SLASH))


async def _ask_plugins(responder: Responder) -> str | None:
    event = responder.event
    person = await responder.context.identify_person(event)
    is_private = not event.guild_id
    return await reply_of_plugin(responder.usecases, person, event.origin(), event.text, is_private=is_private)


async def _offer_edit_or_ask(responder: Responder, job: Job, picture: int) -> None:
    """Offer the Edit and Ask buttons; their text is the message replied to."""
    can_edit = responder.usecases.models.default_for(IMAGE_TEXT_TO_IMAGE) is not None
    buttons = [Button("edit", job.id, picture)] if can_edit else []
    view = build_view([*buttons, Button("ask", job.id, picture)], responder.locale)
    sentence = chat_texts.EDIT_OR_ASK if can_edit else chat_texts.ONLY_ASK
    await responder.reply(chat_texts.format_text(sentence, responder.locale), view=view)


async def _handle_hidden_image(responder: Responder) -> None:
    """A reply to another person's message: Discord hides its pictures from bots, or it has none."""
    pictures = await responder.context.find_attachments(responder.event.target, can_be_empty=True)
    offer = offer_for_image(responder.event.text, responder.usecases.models, responder.locale)
    if pictures and offer is not None:
        await send_offer(responder, offer)
        return
    if pictures:
        person = await responder.context.identify_person(responder.event)
        images = await responder.context.upload_attachments(person, pictures)
        question = {"question": responder.event.text} if responder.event.text else {}
        await submit_job(responder, person, "ask" if question else "caption", question, images)
        return
    menu = chat_texts.format_text(texts.ASK_ABOUT, responder.locale)
    await responder.reply(chat_texts.format_text(texts.IMAGE_HIDDEN, responder.locale, menu=menu))
