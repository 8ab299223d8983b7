"""Handles button presses. Each is answered, whatever it carries: no button keeps spinning.

What a press carries may be forged, so a follow-up to a job is accepted only under a message of that job.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog
from telegram import CallbackQuery, ForceReply, MaybeInaccessibleMessage, Message

from adapters.telegram.bot_api import ChatTarget, message_ref, parse_ref, reply_target
from adapters.telegram.bot_client import NoResponse
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
from adapters.telegram.delivery import BLANK_IMAGE
from adapters.telegram.grid_buttons import answers_grid, send_sheets
from adapters.telegram.message_parsing import IncomingMessage, parse_message
from bot import error_texts
from bot.chat import texts as chat_texts
from bot.chat.buttons import GRID, Button, parse_button
from bot.chat.commands import COMMAND_ACTIONS, answer_confirmation, is_confirmation, run_command_button
from bot.chat.flagged_images import find_images, leave_out
from bot.chat.follow_ups import (
    JOB_ACTIONS,
    PROMPTED_ACTIONS,
    WORDED_ACTIONS,
    delete_job,
    run_follow_up,
    run_worded_follow_up,
    shows_job,
    toggle_favourite,
)
from bot.chat.grid_actions import show_cell_of_button
from bot.chat.grid_commands import cancel_grid
from bot.chat.offers import offer_key, offered_request
from bot.chat.picture_texts import format_original
from bot.chat.replies import ChatContext
from bot.chat.reporting import report_by_button
from bot.commands import COMMANDS
from bot.errors import JobNotFound, NotFound, UserError
from bot.jobs import Job, Origin, StoredImage
from bot.options import pop_flag
from bot.ports import Person
from bot.ports.platform_answers import MessageGone, PlatformError
from bot.usecases import Request
from bot.usecases.worded_images import split_flags

log = structlog.get_logger()
ANSWER_WITHIN_S = 2.0
"""A press that takes longer is answered before it is done."""
MAX_DOCUMENT = 49 * 2**20
OWNER_ACTIONS = frozenset({"cancel", "delete", "favourite", "history", "show"})
"""Actions that only the person who asked for the job may take, or some of whose forms."""
PROMPTS = {
    "ask": (chat_texts.ASK_PROMPT, ASK_PROMPT),
    "edit": (chat_texts.EDIT_PROMPT, EDIT_PROMPT),
    "region": (chat_texts.REGION_PROMPT, REGION_PROMPT),
    "remix": (chat_texts.REMIX_PROMPT, REMIX_PROMPT),
    "style": (chat_texts.REMIX_PROMPT, STYLE_PROMPT),
    "subject": (chat_texts.REMIX_PROMPT, SUBJECT_PROMPT),
}
"""What the person is asked to reply, and how the message that asks is remembered."""


@dataclass(frozen=True)
class ButtonPress:
    """A button pressed under `message`. `key`: the idempotency key of the press."""

    query: CallbackQuery
    message: MaybeInaccessibleMessage
    person: Person
    origin: Origin
    key: str

    @property
    def ref(self) -> str:
        return f"{self.message.chat.id}:{self.message.message_id}"

    @property
    def target(self) -> ChatTarget:
        return ChatTarget(self.message.chat.id, int(self.origin.thread_id or 0), self.message.message_id)


class ButtonHandler:
    def __init__(self, context: TelegramContext) -> None:
        self._context = context
        self._chat = context.usecases.chat
        self._commands = ChatCommandHandler(context)

    async def handle(self, query: CallbackQuery, key: str) -> None:
        """Raises: PlatformError and StorageBusy (to be tried again)."""
        locale = query.from_user.language_code or "en"
        if query.message is None:  # under a message of inline mode, which Easel does not use
            await self._answer(query, chat_texts.format_text(chat_texts.BUTTON_EXPIRED, locale), is_alert=True)
            return
        press = await self._build_press(query, query.message, key, locale)
        action = asyncio.create_task(self._run_action(press, query.data or "", locale))
        try:
            done, _ = await asyncio.wait({action}, timeout=ANSWER_WITHIN_S)
            if not done:
                await self._answer(query)  # the button stops spinning, and what it asked for goes on
            await self._finish_press(press, action, locale, is_answered=not done)
        finally:
            action.cancel()

    async def _finish_press(
        self, press: ButtonPress, action: asyncio.Task[str], locale: str, *, is_answered: bool
    ) -> None:
        """Say what came of it: in the press's pop-up, or in a message if that was used up."""
        try:
            text, is_alert = await action, False
        except UserError as error:
            text, is_alert = error_texts.explain(error, locale=locale), True
        if not is_answered:
            await self._answer(press.query, text, is_alert=is_alert)
        elif text:
            await self._context.responder.reply(press.target, text)

    async def _build_press(
        self, query: CallbackQuery, message: MaybeInaccessibleMessage, key: str, locale: str
    ) -> ButtonPress:
        target, has_spoiler = ChatTarget(message.chat.id, 0, message.message_id), False
        if isinstance(message, Message):
            target, has_spoiler = reply_target(message), bool(message.has_media_spoiler)
        origin = build_origin(
            message.chat,
            target,
            str(query.from_user.id),
            locale,
            has_spoiler=has_spoiler,
            is_admin=self._context.is_admin(str(query.from_user.id)),
        )
        person = await self._context.identify_user(query.from_user)
        return ButtonPress(query, message, person, origin, f"{PLATFORM}:{key}")

    async def _answer(self, query: CallbackQuery, text: str = "", *, is_alert: bool = False) -> None:
        """Best effort: Telegram accepts an answer only for some seconds."""
        try:
            await self._context.api.answer_callback(query.id, text, is_alert=is_alert)
        except PlatformError as error:
            log.info("a press was not answered", action="press_unanswered", detail=error.detail)

    # ------------------------------------------------------------ actions

    async def _run_action(self, press: ButtonPress, data: str, locale: str) -> str:
        """Returns the text that pops up. Raises: UserError."""
        if is_confirmation(data):
            return await self._answer_confirmation(press, data, locale)
        button = parse_button(data)
        if button is None:
            return chat_texts.format_text(chat_texts.BUTTON_EXPIRED, locale)
        if button.is_offer:
            return await self._take_offer(press, button, locale)
        if button.action in OWNER_ACTIONS:
            press = await self._press_for_chat(press, button)
        if button.is_of_grid:
            return await self._press_grid_button(press, button, locale)
        match button.action:
            case "cancel":
                return chat_texts.format_state(await self._chat.cancel_job(press.person, button.job_id), locale)
            case "delete":
                return await self._delete(press, button, locale)
            case "report":
                return await report_by_button(self._context.usecases, press.person, PLATFORM, button, press.ref, locale)
            case "favourite":
                return await toggle_favourite(self._context.usecases, press.person, button, locale)
            case action if action in COMMAND_ACTIONS:
                if button.shows_picture and not await self._shows_job(press, button):
                    return chat_texts.format_text(chat_texts.BUTTON_EXPIRED, locale)
                return await self._run_command(press, button)
        if button.is_example:
            await run_follow_up(self._context.usecases, press.person, press.origin, button, press.key)
            return ""
        job = await self._find_job(press, button)
        if job is None:
            return chat_texts.format_text(chat_texts.BUTTON_EXPIRED, locale)
        return await self._follow_up(press, button, job, locale)

    async def _press_for_chat(self, press: ButtonPress, button: Button) -> ButtonPress:
        """What an anonymous admin asked for is the group's or channel's: any admin of it may press what is the
        owner's."""
        account = ""
        with suppress(JobNotFound, NotFound):
            asked = self._context.usecases.grid_chat.get if button.arg == GRID else self._chat.get_job
            account = (await asked(button.job_id)).origin.account_id
        if not account.startswith("-"):
            return press
        if not await self._context.delivery.permissions.is_chat_admin(int(account), press.query.from_user.id):
            return press
        name = press.message.chat.effective_name or ""
        person = await self._context.usecases.people.identify_account(PLATFORM, account, name)
        return replace(press, person=person)

    async def _press_grid_button(self, press: ButtonPress, button: Button, locale: str) -> str:
        ctx = self._build_chat_context(press)
        if not await answers_grid(ctx, button, press.ref):
            return chat_texts.format_text(chat_texts.BUTTON_EXPIRED, locale)
        match button.action:
            case "cancel":
                return await cancel_grid(ctx, button.job_id)
            case "delete":
                refs = await ctx.usecases.grid_chat.delete(ctx.person, button.job_id, platform=PLATFORM)
                return await self._remove_messages(refs, locale)
            case "original":
                await send_sheets(self._context, ctx, button.job_id, press.target)
            case _:
                await self._commands.send_reply(await show_cell_of_button(ctx, button), press.target, ctx)
        return ""

    async def _follow_up(self, press: ButtonPress, button: Button, job: Job, locale: str) -> str:
        match button.action:
            case "original":
                await self._send_originals(press, job, button.number)
            case action if action in WORDED_ACTIONS:
                await self._follow_up_in_words(press, button, job, locale)
            case action if action in JOB_ACTIONS:
                await run_follow_up(self._context.usecases, press.person, press.origin, button, press.key)
            case _:
                return chat_texts.format_text(chat_texts.BUTTON_EXPIRED, locale)
        return ""

    async def _shows_job(self, press: ButtonPress, button: Button) -> bool:
        return await shows_job(self._context.usecases, press.person, PLATFORM, button, press.ref)

    async def _run_command(self, press: ButtonPress, button: Button) -> str:
        ctx = self._build_chat_context(press)
        await self._commands.send_reply(await run_command_button(ctx, button), press.target, ctx)
        return ""

    def _build_chat_context(self, press: ButtonPress) -> ChatContext:
        is_private = press.message.chat.type == "private"
        return build_chat_context(self._context, press.person, press.origin, is_private=is_private)

    async def _find_job(self, press: ButtonPress, button: Button) -> Job | None:
        """The button's job, if the message above the button is one of that job."""
        for purpose in ("", EDIT_OR_ASK_OFFER):
            job = await self._chat.job_of_message(PLATFORM, press.ref + purpose)
            if job is not None:
                return job if job.id == button.job_id else None
        return None

    # ------------------------------------------------------------ asking, editing and remixing

    async def _follow_up_in_words(self, press: ButtonPress, button: Button, job: Job, locale: str) -> None:
        """Under an offer the text is the message that it replies to; otherwise the person is asked for it."""
        text = await self._offered_text(press)
        if text:
            await run_worded_follow_up(
                self._context.usecases, press.person, press.origin, button, text, self._offer_key(press, button)
            )
            await self._remove_message(press.ref)
            return
        if button.action != "remix":
            await self._chat.require_image(job.id, button.number)
        sentence, purpose = PROMPTS[button.action]
        prompt = await self._chat.prompt_of(job.id) if button.action in PROMPTED_ACTIONS else ""
        asked = chat_texts.format_text(sentence, locale, prompt=prompt)
        sent = await self._context.responder.reply(press.target, asked, ForceReply(selective=True))
        if sent is not None:
            ref = message_ref(sent) + purpose
            await self._chat.remember_message(job, PLATFORM, ref, picture=button.number)

    async def _offered_text(self, press: ButtonPress) -> str:
        if await self._chat.job_of_message(PLATFORM, press.ref + EDIT_OR_ASK_OFFER) is None or not isinstance(
            press.message, Message
        ):
            return ""
        replied = press.message.reply_to_message
        return (replied.text or replied.caption or "") if replied is not None else ""

    # ------------------------------------------------------------ offers

    async def _take_offer(self, press: ButtonPress, button: Button, locale: str) -> str:
        """Ask for what the button stands for, about the message that the offer replies to. Raises: UserError."""
        asked = self._offered_message(press)
        request = offered_request(button, asked.text) if asked is not None else None
        if asked is None or request is None:
            return chat_texts.format_text(chat_texts.BUTTON_EXPIRED, locale)
        if await self._context.usecases.jobs.find_replay(self._offer_key(press, button)) is None:
            await self._submit_offer(press, button, asked, *request)
        await self._remove_message(press.ref)
        return ""

    async def _submit_offer(
        self, press: ButtonPress, button: Button, asked: IncomingMessage, command: str, options: Mapping[str, str]
    ) -> None:
        """The words may have flags, like those of a command."""
        kind, person = COMMANDS[command], press.person
        line, is_confirmed = pop_flag(" ".join(options.values()), "confirm")
        line, flags = split_flags(kind, line)
        photos = leave_out(kind, flags, asked.photos) if flags else asked.photos[: kind.images_needed]
        uploaded = await self._context.photo_uploads.upload_photos(person, photos)
        images = await find_images(self._context.usecases, person, press.origin, kind, flags, uploaded)
        extra = {**press.origin.extra, "spoiler": True} if asked.has_spoiler else press.origin.extra
        job_request = Request(
            origin=replace(press.origin, extra=extra),
            command=command,
            line=line,
            images=images,
            wants_delivery=True,
            use_defaults=True,
            is_confirmed=is_confirmed,
        )
        await self._context.usecases.jobs.submit(person, job_request, key=self._offer_key(press, button))

    def _offer_key(self, press: ButtonPress, button: Button) -> str:
        return offer_key(PLATFORM, f"{self._context.bot_user.id}:{press.ref}", press.origin.account_id, button)

    def _offered_message(self, press: ButtonPress) -> IncomingMessage | None:
        replied = press.message.reply_to_message if isinstance(press.message, Message) else None
        return parse_message(replied, self._context.bot_user) if replied is not None else None

    # ------------------------------------------------------------ originals

    async def _send_originals(self, press: ButtonPress, job: Job, picture: int) -> None:
        """The files as rendered. Raises: ImageGone, Blocked."""
        await self._context.usecases.moderation.require_showable(press.origin, job, picture=picture)
        originals = await self._chat.read_originals(press.person, job.id, picture=picture)
        fit = self._context.usecases.media.fit_bytes
        files = {_file_name(job, one.image): (await fit(one, MAX_DOCUMENT))[0] for one in originals}
        wire, caption = self._context.api, format_original(job, press.origin.locale, picture=picture)

        async def send() -> list[Message]:
            if len(files) == 1:
                [(name, file)] = files.items()
                return [await wire.send_document(press.target, file, name, caption)]
            return await wire.send_album(press.target, files, caption)

        sent = await self._context.responder.send_until_accepted(press.target.chat, send) or []
        for one, message in zip(originals, sent, strict=False):
            number = one.image.number if job.has_several_pictures else 0
            await self._chat.remember_message(job, PLATFORM, message_ref(message), picture=number)

    # ------------------------------------------------------------ deleting

    async def _delete(self, press: ButtonPress, button: Button, locale: str) -> str:
        refs = await delete_job(self._context.usecases, press.person, PLATFORM, button, press.ref)
        if refs is None:
            return chat_texts.format_text(chat_texts.BUTTON_EXPIRED, locale)
        return await self._remove_messages(refs, locale)

    async def _remove_messages(self, refs: Iterable[str], locale: str) -> str:
        for ref in {ref.partition("#")[0] for ref in refs}:
            await self._remove_message(ref)
        return chat_texts.format_text(chat_texts.DELETED, locale)

    async def _remove_message(self, ref: str) -> None:
        """Delete the message; one that is too old for that is blanked."""
        api = self._context.api
        try:
            await api.delete_message(ref)
        except (MessageGone, NoResponse):
            pass
        except PlatformError:
            await self._blank_message(ref)

    async def _blank_message(self, ref: str) -> None:
        async def blank() -> None:
            await self._context.api.edit_photo(ref, BLANK_IMAGE, chat_texts.format_text(chat_texts.DELETED), None)

        await self._context.responder.send_until_accepted(parse_ref(ref)[0], blank)

    # ------------------------------------------------------------ confirmations

    async def _answer_confirmation(self, press: ButtonPress, data: str, locale: str) -> str:
        """Accepted only from the person who was asked, under the bot's reply to their message."""
        question = press.message.reply_to_message if isinstance(press.message, Message) else None
        asked = question.from_user if question is not None else None
        is_of_a_job = await self._chat.job_of_message(PLATFORM, press.ref) is not None
        if is_of_a_job or asked is None or asked.id != press.query.from_user.id:
            return chat_texts.format_text(chat_texts.BUTTON_EXPIRED, locale)
        reply = await answer_confirmation(self._build_chat_context(press), data)
        await self._remove_message(press.ref)
        return reply.text if reply is not None else ""


def _file_name(job: Job, picture: StoredImage) -> str:
    return f"easel-{job.id}-{picture.number}" if job.has_several_pictures else f"easel-{job.id}"
