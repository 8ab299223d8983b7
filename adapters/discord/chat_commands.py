"""Chat commands on Discord: slash options in, an ephemeral message out. What they do is in `bot.chat`."""

import discord

from adapters.discord import rendering, texts
from adapters.discord.events import PLATFORM, DiscordEvent
from adapters.discord.limits import ENVELOPE_BYTES, FILE_LIMIT, MAX_FILES, MIB, max_file_bytes
from adapters.discord.responder import Responder
from adapters.discord.views import build_confirm_view, build_view
from bot.chat import picture_texts
from bot.chat import texts as chat_texts
from bot.chat.arguments import SLASH
from bot.chat.buttons import Button
from bot.chat.commands import CHAT_COMMANDS, answer_confirmation, run_chat_command, run_command_button
from bot.chat.replies import ChatContext, ChatImage, ChatReply
from bot.errors import TooLarge
from bot.jobs import Media
from bot.ports import Person
from bot.safety import Verdict


async def run_command(responder: Responder) -> None:
    """Raises: UserError."""
    event = responder.event
    if event.name not in CHAT_COMMANDS:
        await responder.reply(chat_texts.format_text(texts.UNKNOWN_COMMAND, event.locale))
        return
    reply = await run_chat_command(await build_context(responder), event.name, event.options)
    responder.context.forget_recent_jobs(event.account_id)
    await send_reply(responder, reply)


async def press_confirmation(responder: Responder) -> None:
    """The answer to a question with two buttons. Raises: UserError."""
    reply = await answer_confirmation(await build_context(responder), responder.event.name)
    responder.context.forget_recent_jobs(responder.event.account_id)
    if reply is not None:
        await send_reply(responder, reply)
    await responder.delete_question()


async def press_button(responder: Responder, button: Button) -> None:
    """The answer to a button that runs a command. Raises: UserError."""
    reply = await run_command_button(await build_context(responder), button)
    if button.shows_picture:
        await show_to_everybody(responder, reply)
    else:
        await send_reply(responder, reply)


async def show_to_everybody(responder: Responder, reply: ChatReply) -> None:
    """A picture in the channel, or where the bot may not post, to the person alone."""
    if reply.images and responder.event.can_post:
        await _post_picture(responder, reply)
    else:
        await send_reply(responder, reply)


async def _post_picture(responder: Responder, reply: ChatReply) -> None:
    """One of several pictures, as a message that others see and reply to; else to the person alone."""
    view = build_view(reply.buttons, responder.locale)
    ref = await responder.post(reply.text, files=await _image_files(responder, reply), view=view)
    if ref is None:
        await send_reply(responder, reply)
    elif reply.job is not None:
        chat = responder.usecases.chat
        await chat.remember_message(reply.job, PLATFORM, ref, picture=reply.picture)


async def answer_with_picture(responder: Responder, reply: ChatReply) -> None:
    """The answer to a message, which others see and reply to."""
    view = build_view(reply.buttons, responder.locale)
    sent = await responder.reply(reply.text, files=await _image_files(responder, reply), view=view)
    if sent is not None and reply.job is not None:
        ref = f"{responder.event.channel_id}:{sent.id}"
        await responder.usecases.chat.remember_message(reply.job, PLATFORM, ref, picture=reply.picture)


async def build_context(responder: Responder) -> ChatContext:
    return ChatContext(
        usecases=responder.usecases,
        person=await responder.context.identify_person(responder.event),
        origin=responder.event.origin(),
        style=SLASH,
        is_private=True,  # every answer to a command is ephemeral
        max_file_bytes=_upload_limit(responder.event) - ENVELOPE_BYTES,
    )


def _upload_limit(event: DiscordEvent) -> int:
    return min(event.size_limit or FILE_LIMIT, FILE_LIMIT)


async def send_reply(responder: Responder, reply: ChatReply) -> None:
    locale = responder.locale
    view = build_confirm_view(reply.confirm, locale) if reply.confirm else None
    if reply.buttons:
        view = build_view(reply.buttons, locale)
    files = [*await _image_files(responder, reply), *(rendering.attach_file(one) for one in reply.files)]
    if await responder.reply(reply.text, files=files, view=view) is None and files:
        await responder.reply(reply.text, view=view)  # the text is accepted where the files are not


async def _image_files(responder: Responder, reply: ChatReply) -> list[discord.File]:
    """As many as one message takes, each small enough."""
    event, files = responder.event, []
    limit = max_file_bytes(event.size_limit, len(reply.images))
    for image in reply.images[:MAX_FILES]:
        media = await _fit(responder, image, limit)
        if media is not None and reply.job is not None:
            files.append(
                rendering.build_file(reply.job, image.number - 1, media, alt=image.alt, spoiler=image.is_spoiler)
            )
    return files


async def _fit(responder: Responder, image: ChatImage, limit: int) -> Media | None:
    try:
        return (await responder.usecases.media.fit_bytes(image.media, limit))[0]
    except TooLarge:
        return None


async def send_original(responder: Responder, person: Person, job_id: str, picture: int = 0) -> None:
    """The files as rendered, and a note about those that no message can carry.

    Raises: JobNotFound, ImageGone, Blocked.
    """
    event, chat = responder.event, responder.usecases.chat
    job = await chat.get_job(job_id)
    moderation, origin = responder.usecases.moderation, event.origin()
    await moderation.require_showable(origin, job, picture=picture)
    originals = await chat.read_originals(person, job_id, picture=picture)
    limit = max_file_bytes(event.size_limit, len(originals))
    lines = [picture_texts.format_original(job, event.locale, picture=picture)]
    if (largest := max(len(one.data) for one in originals)) > limit:
        lines.append(chat_texts.format_text(texts.TOO_LARGE_TO_SEND, event.locale, size=f"{largest / MIB:.0f}"))
    files = [
        rendering.build_file(
            job,
            one.image.number - 1,
            one,
            alt=picture_texts.alt_of(job, one.image),
            spoiler=await moderation.judge_again(origin, job, picture=one.image.number) is Verdict.SPOILER,
        )
        for one in originals
        if len(one.data) <= limit
    ]
    await responder.reply("\n".join(lines), files=files)
