"""Chat commands on Telegram: a typed line in, a message out. What they do is in `bot.chat`."""

from dataclasses import replace

from adapters.telegram.bot_api import ChatTarget, message_ref
from adapters.telegram.context import PLATFORM, TelegramContext
from adapters.telegram.delivery import build_confirm_keyboard, build_keyboard
from adapters.telegram.error_descriptions import FileTooBig
from adapters.telegram.message_parsing import IncomingMessage
from bot.chat import texts as chat_texts
from bot.chat.arguments import TYPED, parse_arguments
from bot.chat.commands import find_chat_command, run_chat_command
from bot.chat.picture_texts import format_alts
from bot.chat.replies import ChatContext, ChatFile, ChatReply
from bot.jobs import Job, Origin
from bot.ports import Person

MAX_FILE = 49 * 2**20


class ChatCommandHandler:
    def __init__(self, context: TelegramContext) -> None:
        self._context = context

    async def run_command(
        self, incoming: IncomingMessage, person: Person, origin: Origin, target: ChatTarget, *, late_s: int
    ) -> None:
        """Raises: UserError."""
        command = find_chat_command(incoming.command)
        values = parse_arguments(command.options, incoming.text)
        ctx = build_chat_context(self._context, person, origin, is_private=incoming.is_private)
        job, picture = await self._find_replied_job(incoming)
        ctx = replace(ctx, replied_job=job, replied_picture=picture)
        reply = await run_chat_command(ctx, command.name, values)
        if late_s:
            reply = replace(reply, text=f"{chat_texts.format_delay(late_s, ctx.locale)}\n{reply.text}")
        await self.send_reply(reply, target, ctx)

    async def _find_replied_job(self, incoming: IncomingMessage) -> tuple[Job | None, int]:
        """The job of the bot's message that this one replies to, and the number of the only picture that it shows."""
        if not incoming.replied_bot_message:
            return None, 0
        ref, chat = f"{incoming.message.chat.id}:{incoming.replied_bot_message}", self._context.usecases.chat
        return await chat.job_of_message(PLATFORM, ref), await chat.picture_of_message(PLATFORM, ref)

    async def send_reply(self, reply: ChatReply, target: ChatTarget, ctx: ChatContext) -> None:
        if reply.is_private and not ctx.is_private:
            reply = ChatReply(text=chat_texts.format_text(chat_texts.IN_PRIVATE, ctx.locale))
        ref = await self._send_message(reply, target, ctx.locale)
        for file in reply.files:
            await self._send_file(file, reply.text, target, ctx.locale)
        if ref is not None and reply.job is not None:
            chat = self._context.usecases.chat
            await chat.remember_message(reply.job, PLATFORM, ref, picture=reply.picture)

    async def _send_message(self, reply: ChatReply, target: ChatTarget, locale: str) -> str | None:
        """The text with its buttons, under the pictures if there are any; the text of files goes with them."""
        responder, delivery = self._context.responder, self._context.delivery
        if reply.files:
            return None
        keyboard = build_keyboard(reply.buttons, locale)
        if reply.confirm is not None:
            keyboard = build_confirm_keyboard(reply.confirm, locale)
        if reply.images:
            text, places = reply.text, 0
            if reply.job is not None and reply.job.result is not None and not reply.picture:
                text = "\n".join(filter(None, [text, format_alts(reply.job)]))
                places = reply.job.result.places
            send = lambda: delivery.send_images(target, reply.images, text, keyboard, locale, places=places)  # noqa: E731
            return await responder.send_until_accepted(target.chat, send)
        sent = await responder.reply(target, reply.text, keyboard)
        return message_ref(sent) if sent is not None else None

    async def _send_file(self, file: ChatFile, caption: str, target: ChatTarget, locale: str) -> None:
        api, responder = self._context.api, self._context.responder
        try:
            await responder.send_until_accepted(
                target.chat, lambda: api.send_document(target, file.media, file.name, caption)
            )
        except FileTooBig:
            await responder.reply(target, chat_texts.format_text(chat_texts.TOO_LARGE_TO_SEND, locale))


def build_chat_context(context: TelegramContext, person: Person, origin: Origin, *, is_private: bool) -> ChatContext:
    return ChatContext(
        usecases=context.usecases,
        person=person,
        origin=origin,
        style=TYPED,
        is_private=is_private,
        max_file_bytes=MAX_FILE,
    )
