"""Delivers jobs as messages: the placeholder, which becomes the picture or the answer, and the fallbacks.

One message per job, edited in place: edits can be repeated safely, so a lost response never posts anything twice.
"""

import base64
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

import structlog
from telegram import InlineKeyboardButton, InlineKeyboardMarkup, Message

from adapters.telegram.bot_api import ChatTarget, TelegramApi, message_ref, origin_target, parse_ref
from adapters.telegram.bot_client import NoResponse, UnreadableResponse
from adapters.telegram.error_descriptions import FileTooBig, NotDeletable, WrongMessageKind
from adapters.telegram.permissions import ChatPermissions
from adapters.telegram.rate_limit import Lane
from bot.chat import texts as chat_texts
from bot.chat.arguments import TYPED
from bot.chat.buttons import CELL, Button, group_buttons, offered_buttons, split_cells
from bot.chat.follow_ups import needs_demo_hint
from bot.chat.picture_texts import format_alts
from bot.chat.replies import ChatImage, Confirmation
from bot.commands.best_of import best_of
from bot.errors import Blocked, TooLarge
from bot.jobs import Job, Media
from bot.ports import Delivery, Progress
from bot.ports.platform_answers import PAGE_PATIENCE, NotPermitted, PlatformError, UnclearAnswer, Undeliverable
from bot.queue.grid_message import GridMessage
from bot.usecases import UseCases

log = structlog.get_logger()

NOT_THERE = (NotPermitted, Undeliverable)
"""A chat that does not accept the message; the person's private chat may."""
MAX_PHOTO = 10 * 2**20 - 2**12
SHRINK_FACTORS = (1.0, 0.4, 0.1)
"""Fractions of a photo's size that are tried in turn when it is rejected as too large."""
BLANK_IMAGE = Media(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAEAAAAAgCAAAAACH9iFYAAAAIUlEQVR42mM8wUAZYGIYNWDUgFEDRg0YNWDUgFEDhpkBAGTBAQhiTbZu"
        "AAAAAElFTkSuQmCC"
    ),
    "image/png",
)
"""Replaces a picture that is too old for Telegram to delete."""
T = TypeVar("T")
BUTTONS_PER_ROW = 3
SHORT_PER_ROW = 5
CELLS_PER_ROW = 8
"""As many as Telegram shows beside one another."""
MAX_CELLS = 40


def build_keyboard(buttons: Sequence[Button], locale: str) -> InlineKeyboardMarkup | None:
    """Up to three buttons per row, five with short labels; buttons of different kinds are in different rows."""
    rows = []
    for kind, group in group_buttons(buttons):
        per_row = _buttons_per_row(kind, group)
        if kind == CELL and len(group) > MAX_CELLS:  # they would fill the screen, and a reply shows a picture as well
            continue
        for some in split_cells(group) if kind == CELL else [group]:
            made = [
                InlineKeyboardButton(chat_texts.format_button(button, locale), callback_data=button.encode())
                for button in some
            ]
            rows += [made[at : at + per_row] for at in range(0, len(made), per_row)]
    return InlineKeyboardMarkup(rows) if rows else None


def _buttons_per_row(kind: str, group: Sequence[Button]) -> int:
    """`Report` has no row of its own."""
    if kind in ("show", "vary", "list", "pan"):
        return SHORT_PER_ROW
    if kind == CELL:
        return CELLS_PER_ROW
    is_one_more = len(group) == BUTTONS_PER_ROW + 1 and group[-1].action == "report"
    return BUTTONS_PER_ROW + is_one_more


def build_confirm_keyboard(confirmation: Confirmation, locale: str) -> InlineKeyboardMarkup:
    buttons = (
        (confirmation.accept_label, confirmation.accept),
        (confirmation.decline_label, confirmation.decline),
    )
    row = [InlineKeyboardButton(chat_texts.format_text(label, locale), callback_data=data) for label, data in buttons]
    return InlineKeyboardMarkup([row])


@dataclass(frozen=True)
class TelegramDelivery:
    """`bot.ports.Platform` for Telegram. `_photo_refs`: placeholders that already show a preview."""

    api: TelegramApi
    usecases: UseCases
    permissions: ChatPermissions
    _photo_refs: set[str] = field(default_factory=set)

    # ------------------------------------------------------------ the placeholder

    async def post_placeholder(self, delivery: Delivery) -> str:
        job = delivery.job
        target, text = _target_of(delivery), await self._placeholder_text(job)
        markup = self._buttons(job)
        try:
            if not await self.permissions.can_answer(target.chat, job.command):
                raise NotPermitted("pictures are not allowed there")
            await self.api.wait_for_slot(target.chat, delivery.nonce, owner=job.owner, lane=Lane.PLACEHOLDER)
            return message_ref(await self.api.send_text(target, text, markup))
        except NOT_THERE as refused:
            private = _private_target(job, refused)
            show = chat_texts.write_show(job, TYPED)
            reason = chat_texts.format_text(chat_texts.CANNOT_POST, job.origin.locale, show=show)
            return message_ref(await self._send_privately(private, f"{reason}\n{text}", markup, delivery, target))
        except NoResponse as error:  # it may be posted, so the tries are few
            raise UnclearAnswer(error.detail, patience=PAGE_PATIENCE) from error

    async def _send_privately(
        self,
        private: ChatTarget,
        text: str,
        markup: InlineKeyboardMarkup | None,
        delivery: Delivery,
        target: ChatTarget,
    ) -> Message:
        """To the person in private; if they never wrote to the bot, to the group, if it accepts text."""
        try:
            await self.api.wait_for_slot(private.chat, delivery.nonce)
            return await self.api.send_text(private, text, markup)
        except NOT_THERE:
            await self.api.wait_for_slot(target.chat, delivery.nonce)
            return await self.api.send_text(target, text, markup)

    async def _placeholder_text(self, job: Job) -> str:
        ticket = await self.usecases.jobs.ticket_for(job)
        text = chat_texts.format_placeholder(ticket, job.origin.locale)
        if late_s := job.origin.extra.get("late_s"):
            return f"{chat_texts.format_delay(float(late_s), job.origin.locale)}\n{text}"
        return text

    def _buttons(self, job: Job) -> InlineKeyboardMarkup | None:
        return build_keyboard(offered_buttons(job, self.usecases.models), job.origin.locale)

    # ------------------------------------------------------------ progress

    async def show_progress(self, job: Job, message_ref: str, progress: Progress) -> bool:
        """Shown if the chat's limits allow it now, otherwise skipped: the next step says more."""
        chat, _ = parse_ref(message_ref)
        if not self.api.rate_limiter.try_progress(chat):
            return False
        if str(chat) != job.origin.chat_id:  # the rules that allow previews are those of the other chat
            progress = replace(progress, preview=None, text="")
        ticket = await self.usecases.jobs.ticket_with_progress(job, progress)
        text = chat_texts.format_status(ticket, progress, job.origin.locale)
        markup = self._buttons(ticket.job)
        if progress.preview:
            preview = Media(progress.preview, "image/jpeg")
            self._photo_refs.add(message_ref)
            await self.api.edit_photo(message_ref, preview, text, markup, has_spoiler=job.is_spoiler)
        else:
            await self._edit_text(message_ref, text, markup)
        return True

    async def _edit_text(self, message_ref: str, text: str, markup: InlineKeyboardMarkup | None) -> None:
        """Edit the text, or the caption if the message is a picture by now."""
        first, second = self.api.edit_text, self.api.edit_caption
        if message_ref in self._photo_refs:
            first, second = second, first
        try:
            await first(message_ref, text, markup)
        except WrongMessageKind:
            await second(message_ref, text, markup)

    # ------------------------------------------------------------ the result

    async def edit_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        """Raises: MessageGone, Undeliverable, PlatformError."""
        assert delivery.message_ref is not None
        ref, job = delivery.message_ref, delivery.job
        chat, _ = parse_ref(ref)
        photo, text = await self._render(job, pictures if job.may_be_delivered_to(str(chat)) else [])
        await self.api.wait_for_slot(chat, delivery.nonce, owner=job.owner)
        try:
            if photo is None and job.error is not None and job.error.code == Blocked.code:
                ref = await self._replace_with_text(ref, job, text, delivery.nonce)
            elif photo is None:
                await self._edit_text(ref, text, self._buttons(job))
            else:
                await self._edit_photo(ref, delivery, photo, text)
        except NOT_THERE as refused:
            ref = await self._post_privately(refused, delivery, pictures)
        except UnclearAnswer as error:
            if delivery.tries < error.patience:
                raise
            ref = await self._replace_message(delivery, photo, text)
        self._photo_refs.discard(delivery.message_ref)
        return ref

    async def _edit_photo(self, ref: str, delivery: Delivery, photo: Media, text: str) -> None:
        job = delivery.job

        async def edit(photo: Media | None, text: str) -> None:
            if photo is None:
                await self._edit_text(ref, text, self._buttons(job))
                return
            await self.api.edit_photo(
                ref, photo, text, self._buttons(job), has_spoiler=job.is_spoiler, tries=delivery.tries
            )

        await self._write_shrinking(job, photo, text, edit)

    async def _write_shrinking(
        self, job: Job, photo: Media, text: str, write: Callable[[Media | None, str], Awaitable[T]]
    ) -> T:
        """Retry with smaller files while Telegram, or a proxy before it, rejects them as too large; then a sentence
        says where the picture is. Raises: PlatformError."""
        for factor in SHRINK_FACTORS:
            with suppress(FileTooBig, TooLarge):
                smaller, _ = await self.usecases.media.fit_bytes(photo, int(len(photo.data) * factor))
                return await write(smaller, text)
        log.warning("no file is small enough", action="result_not_taken", size=len(photo.data))
        return await write(None, chat_texts.format_undeliverable(job, job.origin.locale))

    async def _replace_message(self, delivery: Delivery, photo: Media | None, text: str) -> str:
        """A new message instead of one that cannot be edited, which is deleted: it still says that it is queued."""
        new_ref = await self._post(_target_of(delivery), delivery.job, photo, text, delivery.nonce)
        try:
            await self.api.delete_message(str(delivery.message_ref))
        except PlatformError as error:
            log.info("a placeholder could not be deleted", action="placeholder_stays", detail=error.detail)
        return new_ref

    async def _replace_with_text(self, ref: str, job: Job, text: str, key: str) -> str:
        """Replace a preview that must not be seen. A photo cannot become a text, so a new message may be needed."""
        try:
            await self.api.edit_text(ref, text, self._buttons(job))
        except WrongMessageKind:
            new_ref = await self._post(origin_target(job.origin), job, None, text, key)
            with suppress(PlatformError):
                await self.api.delete_message(ref)
            return new_ref
        return ref

    async def send_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        """Raises: Undeliverable, PlatformError."""
        job = delivery.job
        photo, text = await self._render(job, pictures)
        try:
            return await self._post(_target_of(delivery), job, photo, text, delivery.nonce)
        except NOT_THERE as refused:
            return await self._post_privately(refused, delivery, pictures)

    async def notify_undeliverable(self, delivery: Delivery) -> None:
        assert delivery.message_ref is not None
        chat, _ = parse_ref(delivery.message_ref)
        await self.api.wait_for_slot(chat, delivery.nonce)
        await self._edit_text(
            delivery.message_ref, chat_texts.format_undeliverable(delivery.job, delivery.job.origin.locale), None
        )

    async def retract_message(self, delivery: Delivery, message_ref: str) -> None:
        """One that is too old to be deleted is emptied."""
        ref = message_ref.partition("#")[0]
        chat, _ = parse_ref(ref)
        self._photo_refs.discard(ref)
        await self.api.wait_for_slot(chat, f"{delivery.nonce}{ref}", owner=delivery.job.owner)
        try:
            await self.api.delete_message(ref)
        except (NotDeletable, UnclearAnswer):
            deleted = chat_texts.format_text(chat_texts.DELETED, delivery.job.origin.locale)
            await self.api.edit_photo(ref, BLANK_IMAGE, deleted, None, tries=delivery.tries)

    async def send_images(
        self,
        target: ChatTarget,
        images: Sequence[ChatImage],
        text: str,
        markup: InlineKeyboardMarkup | None,
        locale: str,
        *,
        places: int = 0,
    ) -> str:
        """Images outside of the outbox; the caller has waited for a slot. `places`: cells of the composed photo, blank
        where an image may not be shown here. Raises: PlatformError."""
        cells = {image.number: image.media for image in images}
        numbers = range(1, places + 1) if places > 1 else sorted(cells)
        sheet = await self.usecases.media.contact_sheet([cells.get(number) for number in numbers])
        photo, caption = await self._fit(sheet, text, locale)
        has_spoiler = any(image.is_spoiler for image in images)
        return message_ref(await self.api.send_photo(target, photo, caption, markup, has_spoiler=has_spoiler))

    async def _post_privately(self, refused: PlatformError, delivery: Delivery, pictures: Sequence[Media]) -> str:
        """To the person, after the chat refused it. Raises: the refusal that may end, if both refuse it."""
        private = _private_target(delivery.job, refused)
        allowed = pictures if delivery.job.may_be_delivered_to(str(private.chat)) else []
        photo, text = await self._render(delivery.job, allowed)
        reason = chat_texts.format_text(chat_texts.SENT_PRIVATELY, delivery.job.origin.locale)
        try:
            return await self._post(private, delivery.job, photo, f"{text}\n{reason}", delivery.nonce)
        except NOT_THERE as error:
            raise (refused if isinstance(refused, NotPermitted) else error) from error

    async def _post(self, target: ChatTarget, job: Job, photo: Media | None, text: str, key: str) -> str:
        await self.api.wait_for_slot(target.chat, key, owner=job.owner)
        return await self._send(target, job, photo, text)

    async def _send(self, target: ChatTarget, job: Job, photo: Media | None, text: str) -> str:
        async def send(photo: Media | None, text: str) -> Message:
            if photo is None:
                return await self.api.send_text(target, text, self._buttons(job))
            return await self.api.send_photo(target, photo, text, self._buttons(job), has_spoiler=job.is_spoiler)

        return message_ref(await (send(None, text) if photo is None else self._write_shrinking(job, photo, text, send)))

    async def _render(self, job: Job, pictures: Sequence[Media]) -> tuple[Media | None, str]:
        """The photo, if the job has pictures, and the text."""
        locale = job.origin.locale
        text = chat_texts.format_result(job, locale, with_demo_hint=await needs_demo_hint(self.usecases, job))
        if not pictures:
            return None, text
        if best_of(job.options):
            return await self._fit(pictures[0], text, locale)
        if isinstance(job, GridMessage):
            sheet: Media | None = await self.usecases.media.contact_sheet(pictures)
        else:
            sheet = await self.usecases.media.result_sheet(job)
        return await self._fit(sheet or pictures[0], "\n".join(filter(None, [text, format_alts(job)])), locale)

    async def _fit(self, sheet: Media, text: str, locale: str) -> tuple[Media, str]:
        """The photo, small enough, and its caption."""
        photo, is_smaller = await self.usecases.media.fit_bytes(sheet, MAX_PHOTO)
        return photo, f"{text}\n{chat_texts.format_text(chat_texts.SMALLER, locale)}" if is_smaller else text


def _target_of(delivery: Delivery) -> ChatTarget:
    return replace(origin_target(delivery.job.origin), tries=delivery.tries)


def _private_target(job: Job, refused: PlatformError) -> ChatTarget:
    """The person's private chat, for a group that rejects the message. Raises: the refusal, if there is none."""
    account = int(job.origin.account_id)
    if isinstance(refused, UnreadableResponse) or account <= 0 or str(account) == job.origin.chat_id:
        raise refused
    return ChatTarget(account)
