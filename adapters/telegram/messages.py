"""Messages that are for the bot: jobs are submitted, commands run, hints given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from adapters.telegram.bot_api import ChatTarget, message_ref, reply_target
from adapters.telegram.chat_commands import ChatCommandHandler, build_chat_context
from adapters.telegram.context import (
    ASK_PROMPT,
    EDIT_OR_ASK_OFFER,
    EDIT_PROMPT,
    PLATFORM,
    REGION_PROMPT,
    REMIX_PROMPT,
    STYLE_PROMPT,
    SUBJECT_PROMPT,
    TelegramContext,
    build_origin,
)
from adapters.telegram.delivery import build_keyboard
from adapters.telegram.message_parsing import IncomingMessage, author_of
from bot.chat import help_texts
from bot.chat import texts as chat_texts
from bot.chat.buttons import Button
from bot.chat.flagged_images import count_open, find_images, leave_out, pictures_needed
from bot.chat.follow_ups import run_worded_follow_up
from bot.chat.grid_actions import GridReply, read_reply, refuse_grid, show_cell
from bot.chat.offers import ButtonOffer, offer_drawing, offer_for_image
from bot.chat.plugin_replies import reply_of_plugin, run_plugin_command
from bot.chat.question_detector import is_question, is_remark
from bot.commands import COMMANDS, Command
from bot.commands.image_flags import ImageFlag
from bot.errors import ImageGone, UnsupportedMedia
from bot.jobs import ImageRef, Job, Origin
from bot.models import IMAGE_TEXT_TO_IMAGE
from bot.options import pop_flag
from bot.ports import Person
from bot.usecases import Request
from bot.usecases.worded_images import split_flags

WORDED_PROMPTS = {
    ASK_PROMPT: "ask",
    EDIT_PROMPT: "edit",
    REGION_PROMPT: "region",
    REMIX_PROMPT: "remix",
    STYLE_PROMPT: "style",
    SUBJECT_PROMPT: "subject",
}
"""What a reply to each of these messages of the bot asks for."""
LATE_AFTER_S = 600.0
"""Older messages are answered with an apology for the delay."""


@dataclass(frozen=True)
class MessageRequest:
    """A message with its author and the place of the answer. `key`: the idempotency key of its event."""

    incoming: IncomingMessage
    person: Person
    origin: Origin
    target: ChatTarget
    key: str
    late_s: int

    @property
    def locale(self) -> str:
        return self.origin.locale


class MessageHandler:
    def __init__(self, context: TelegramContext) -> None:
        self._context = context
        self._chat = context.usecases.chat
        self._chat_commands = ChatCommandHandler(context)

    async def handle(self, incoming: IncomingMessage, key: str) -> None:
        """Raises: UserError (to be explained), PlatformError and StorageBusy (to be retried)."""
        request = await self._build_request(incoming, key)
        if incoming.command in COMMANDS:
            await self._run_command(request)
        elif self._context.usecases.plugins.find_command(incoming.command) is not None:
            await self._run_plugin_command(request)
        elif incoming.command:
            await self._chat_commands.run_command(
                incoming, request.person, request.origin, request.target, late_s=request.late_s
            )
        elif incoming.replied_bot_message:
            await self._handle_reply(request)
        elif incoming.is_private or incoming.text:
            await self._handle_sentence(request)

    async def _build_request(self, incoming: IncomingMessage, key: str) -> MessageRequest:
        message = incoming.message
        target, locale = reply_target(message), locale_of(message)
        replied = message.reply_to_message
        age_s = (datetime.now(UTC) - message.date).total_seconds()
        late_s = int(age_s) if age_s > LATE_AFTER_S else 0
        origin = build_origin(
            message.chat,
            target,
            author_of(message),
            locale,
            reply_to=replied.message_id if replied else 0,
            has_spoiler=incoming.has_spoiler,
            late_s=late_s,
            is_admin=self._context.is_admin(author_of(message)),
        )
        return MessageRequest(
            incoming, await self._context.identify_author(message), origin, target, f"{PLATFORM}:{key}", late_s
        )

    # ------------------------------------------------------------ jobs

    async def _run_command(self, request: MessageRequest) -> None:
        """A command with its own photos, or those of the message it replies to."""
        incoming, kind = request.incoming, COMMANDS[request.incoming.command]
        if incoming.is_unreadable and not (incoming.photos or incoming.replied_photos):
            raise UnsupportedMedia("not_a_picture")
        line, flags = split_flags(kind, incoming.text)
        if flags:
            images, parent = await self._find_flagged_images(request, kind, flags)
        else:
            images, parent = await self._find_images(request, kind)
        await self._submit(request, incoming.command, line, images, parent)

    async def _run_plugin_command(self, request: MessageRequest) -> None:
        """With its own photos, or those of the message it replies to."""
        incoming, usecases = request.incoming, self._context.usecases
        photos = incoming.photos or incoming.replied_photos
        line, is_confirmed = pop_flag(incoming.text, "confirm")
        asked = Request(
            origin=request.origin,
            command=incoming.command,
            line=line,
            images=tuple(await self._context.photo_uploads.upload_photos(request.person, photos)),
            wants_delivery=True,
            use_defaults=True,
            is_confirmed=is_confirmed,
        )
        _, text = await run_plugin_command(usecases, request.person, asked, key=request.key)
        if text:
            await self._context.responder.reply(request.target, text)

    async def _find_images(self, request: MessageRequest, kind: type[Command]) -> tuple[Sequence[ImageRef], Job | None]:
        """Of an album, as many as the command allows; of a job's pictures only the first, unless it accepts several.

        The photo replied to comes first where the command's own are too few.
        """
        own, replied = request.incoming.photos, request.incoming.replied_photos
        limit = max(kind.images_allowed, kind.album_allowed)
        if not limit:
            return (), None
        photos = (*replied, *own) if len(own) < kind.images_needed else own or replied
        parent: Job | None = None
        shared: tuple[ImageRef, ...] = ()
        if len(photos) < max(1, kind.images_needed):
            parent, picture = await self._find_picture_job(request)
        if parent is not None:
            shared = await self._chat.share_images(request.person, parent.id, request.origin, picture=picture)
            shared = shared[: limit if kind.images_needed > 1 else max(1, kind.album_allowed)]
        uploaded = await self._context.photo_uploads.upload_photos(request.person, photos[: limit - len(shared)])
        return (*shared, *uploaded), parent

    async def _find_flagged_images(
        self, request: MessageRequest, kind: type[Command], flags: Sequence[ImageFlag]
    ) -> tuple[Sequence[ImageRef], Job | None]:
        """The message's own photos, and before them the picture replied to if there are none or too few of them."""
        person, origin, photos = request.person, request.origin, request.incoming.photos
        shared: tuple[ImageRef, ...] = ()
        parent: Job | None = None
        if not photos or len(photos) < pictures_needed(kind, flags) + count_open(flags):
            photos = (*request.incoming.replied_photos[:1], *photos)
            parent, number = await self._find_picture_job(request)
        if parent is not None:
            wants_mask = any(flag.role == "mask" for flag in flags)
            shared = await self._chat.sharing.share_picture(
                person, parent.id, origin, picture=number, wants_mask=wants_mask
            )
        photos = leave_out(kind, flags, photos)
        pictures = (*shared, *await self._context.photo_uploads.upload_photos(person, photos))
        return await find_images(self._context.usecases, person, origin, kind, flags, pictures), parent

    async def _submit(
        self, request: MessageRequest, command: str, line: str, images: Sequence[ImageRef], parent: Job | None
    ) -> None:
        role = (*COMMANDS[command].roles, "init")[0]
        images = [replace(one, role=role) if one.role == "init" else one for one in images]
        line, is_confirmed = pop_flag(line, "confirm")
        job_request = Request(
            origin=request.origin,
            command=command,
            line=line,
            images=tuple(images),
            parent=parent.id if parent else None,
            wants_delivery=True,
            use_defaults=True,
            is_confirmed=is_confirmed,
        )
        await self._context.usecases.jobs.submit(request.person, job_request, key=request.key)

    async def _find_job(self, request: MessageRequest) -> tuple[Job | None, str, int]:
        """The job of the bot's message replied to, the purpose of that message ("": it shows the job), and the number
        of the only picture that it is about."""
        if not request.incoming.replied_bot_message:
            return None, "", 0
        ref, chat = self._replied_ref(request), self._chat
        for purpose in ("", *WORDED_PROMPTS, EDIT_OR_ASK_OFFER):
            job = await chat.job_of_message(PLATFORM, ref + purpose)
            if job is not None:
                return job, purpose, await chat.picture_of_message(PLATFORM, ref + purpose)
        return None, "", 0

    @staticmethod
    def _replied_ref(request: MessageRequest) -> str:
        return f"{request.incoming.message.chat.id}:{request.incoming.replied_bot_message}"

    async def _find_picture_job(self, request: MessageRequest) -> tuple[Job | None, int]:
        """The same, for a command that works on its picture. Raises: InvalidOption: the message shows a grid."""
        job, purpose, picture = await self._find_job(request)
        if not purpose:
            await refuse_grid(self._context.usecases, PLATFORM, self._replied_ref(request), job)
        return job, picture

    # ------------------------------------------------------------ replies

    async def _handle_reply(self, request: MessageRequest) -> None:
        """A reply to the bot: a question about its picture, an edit, or the person is asked which."""
        job, purpose, picture = await self._find_job(request)
        text = request.incoming.text
        if job is not None and job.batch and not purpose and text:
            named = await read_reply(self._context.usecases, PLATFORM, self._replied_ref(request), text, request.locale)
            if named is not None:
                await self._handle_reply_to_grid(request, named)
                return
        await self._handle_reply_to_job(request, job, purpose, picture)

    async def _handle_reply_to_grid(self, request: MessageRequest, named: GridReply) -> None:
        """It names one picture, and may ask about it."""
        if named.cell is None:
            if not is_remark(request.incoming.text):
                await self._context.responder.reply(request.target, named.sentence, refused=request.origin.account_id)
        elif named.text and named.cell.is_made:
            about = replace(request, incoming=replace(request.incoming, text=named.text))
            await self._handle_reply_to_job(about, named.cell.job, "", 1)
        else:
            is_private = request.incoming.is_private
            ctx = build_chat_context(self._context, request.person, request.origin, is_private=is_private)
            await self._chat_commands.send_reply(await show_cell(ctx, named.cell), request.target, ctx)

    async def _handle_reply_to_job(self, request: MessageRequest, job: Job | None, purpose: str, picture: int) -> None:
        text = request.incoming.text
        if job is None or not text:
            if request.incoming.is_private:
                await self._send_hint(request)
        elif purpose in WORDED_PROMPTS or is_question(text):
            button = Button(WORDED_PROMPTS.get(purpose, "ask"), job.id, picture)
            await run_worded_follow_up(
                self._context.usecases, request.person, request.origin, button, text, request.key
            )
        elif is_remark(text):
            return
        elif await self._chat.images_of(job):
            await self._offer_edit_or_ask(request, job, picture)
        elif job.result is not None:
            raise ImageGone

    async def _offer_edit_or_ask(self, request: MessageRequest, job: Job, picture: int) -> None:
        can_edit = self._context.usecases.models.default_for(IMAGE_TEXT_TO_IMAGE) is not None
        edit = [Button("edit", job.id, picture)] if can_edit else []
        buttons = build_keyboard([*edit, Button("ask", job.id, picture)], request.locale)
        text = chat_texts.format_text(chat_texts.EDIT_OR_ASK if can_edit else chat_texts.ONLY_ASK, request.locale)
        sent = await self._context.responder.reply(request.target, text, buttons)
        if sent is not None:
            ref = message_ref(sent) + EDIT_OR_ASK_OFFER
            await self._chat.remember_message(job, PLATFORM, ref, picture=picture)

    # ------------------------------------------------------------ plain sentences

    async def _handle_sentence(self, request: MessageRequest) -> None:
        """What it may ask for is offered; in a group, a question about a picture is answered."""
        incoming, offer = request.incoming, self._find_offer(request)
        if not incoming.photos and (answer := await self._ask_plugins(request)):
            await self._context.responder.reply(request.target, answer)
        elif offer is not None:
            markup = build_keyboard(offer.buttons, request.locale)
            account = request.origin.account_id
            await self._context.usecases.moderation.check_words(account, incoming.text)
            await self._context.responder.reply(request.target, offer.text, markup, refused=account)
        elif is_question(incoming.text) and not incoming.is_private and (incoming.photos or incoming.replied_photos):
            await self._run_command(replace(request, incoming=replace(incoming, command="ask")))
        else:
            await self._send_hint(request)

    async def _ask_plugins(self, request: MessageRequest) -> str | None:
        incoming, usecases = request.incoming, self._context.usecases
        is_private = incoming.is_private
        return await reply_of_plugin(usecases, request.person, request.origin, incoming.text, is_private=is_private)

    def _find_offer(self, request: MessageRequest) -> ButtonOffer | None:
        """Only for what the offer's message will quote: one own picture, or words."""
        incoming, models = request.incoming, self._context.usecases.models
        if incoming.message.forward_origin is not None or incoming.is_unreadable:
            return None
        if len(incoming.photos) == 1 and not incoming.message.media_group_id:
            return offer_for_image(incoming.text, models, request.locale)
        if incoming.photos or incoming.replied_photos:
            return None
        return offer_drawing(incoming.text, models, request.locale)

    # ------------------------------------------------------------ hints

    async def _send_hint(self, request: MessageRequest) -> None:
        """What can be done here with what was sent.

        It counts as a refusal: twenty stickers do not get twenty hints. In private chats an unreadable message is not
        quoted, because the library could not parse the reply to it either.
        """
        incoming, models, target = request.incoming, self._context.usecases.models, request.target
        if incoming.is_unreadable:
            text = chat_texts.format_text(chat_texts.ONLY_PICTURES, request.locale)
            target = ChatTarget(target.chat) if incoming.is_private else target
        elif incoming.photos or incoming.replied_photos:
            text = help_texts.format_photo_hint(models, request.locale)
        else:
            text = help_texts.format_hint(models, request.locale)
        await self._context.responder.reply(target, text, refused=request.origin.account_id)


def locale_of(message: object) -> str:
    """The language of the person's Telegram app."""
    user = getattr(message, "from_user", None)
    return (user.language_code if user is not None else None) or "en"
