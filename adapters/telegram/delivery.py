"""Jobs as messages: the placeholder, which becomes the picture or the answer, and what stands in for it.

One message a job, edited in place: edits can be repeated freely, so a lost answer of Telegram's never shows twice.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from telegram import InlineKeyboardButton, InlineKeyboardMarkup, Message

from adapters.telegram.bot_api import Spot, Wire, of_ref, ref_of, spot_of_origin
from adapters.telegram.bot_client import OtherKind, Unreadable
from adapters.telegram.permissions import Rights
from bot.chat import texts as chat_texts
from bot.chat.buttons import Button, buttons_of
from bot.errors import Blocked, PlatformError, Undeliverable
from bot.jobs import Job, Media
from bot.ports import Delivery, Progress
from bot.usecases import UseCases

MAX_PHOTO = 10 * 2**20 - 2**12
IN_A_ROW = 3


def keyboard(buttons: Sequence[Button], locale: str) -> InlineKeyboardMarkup | None:
    """Up to three in a row; prompts to pick stand by themselves."""
    made = [
        InlineKeyboardButton(chat_texts.say_button(button, locale), callback_data=button.encode()) for button in buttons
    ]
    picks = sum(button.action == "pick" for button in buttons)
    groups = [made[:picks], made[picks:]]
    rows = [group[at : at + IN_A_ROW] for group in groups for at in range(0, len(group), IN_A_ROW)]
    return InlineKeyboardMarkup(rows) if rows else None


@dataclass(frozen=True)
class Replies:
    """The platform as the outbox sees it. `_pictured` are placeholders that show a preview already."""

    wire: Wire
    usecases: UseCases
    rights: Rights
    _pictured: set[str] = field(default_factory=set)

    # ------------------------------------------------------------ the placeholder

    async def place(self, delivery: Delivery) -> str:
        job = delivery.job
        spot, text = spot_of_origin(job.origin), await self._standing(job)
        markup = self._buttons(job)
        try:
            if not await self.rights.allow(spot.chat, job.command):
                raise Undeliverable("no pictures there")
            await self.wire.turn(spot.chat, delivery.nonce, is_urgent=True)
            return ref_of(await self.wire.text(spot, text, markup))
        except Undeliverable as refused:
            alone = _private(job, refused)
            why = chat_texts.say_text(chat_texts.CANNOT_POST, job.origin.locale)
            return ref_of(await self._said(alone, f"{why}\n{text}", markup, delivery, spot))

    async def _said(
        self, alone: Spot, text: str, markup: InlineKeyboardMarkup | None, delivery: Delivery, spot: Spot
    ) -> Message:
        """To the person alone; who never wrote to the bot hears it in the group, if words may be said there."""
        try:
            await self.wire.turn(alone.chat, delivery.nonce)
            return await self.wire.text(alone, text, markup)
        except Undeliverable:
            await self.wire.turn(spot.chat, delivery.nonce)
            return await self.wire.text(spot, text, markup)

    async def _standing(self, job: Job) -> str:
        ticket = await self.usecases.jobs.ticket(job)
        text = chat_texts.say_placeholder(ticket, job.origin.locale)
        if late_s := job.origin.extra.get("late_s"):
            return f"{chat_texts.say_late(float(late_s), job.origin.locale)}\n{text}"
        return text

    def _buttons(self, job: Job) -> InlineKeyboardMarkup | None:
        return keyboard(buttons_of(job, self.usecases.models), job.origin.locale)

    # ------------------------------------------------------------ progress

    async def progress(self, job: Job, message_ref: str, progress: Progress) -> None:
        """Shown when the chat has room for it, and otherwise not at all: the next step says more."""
        chat, _ = of_ref(message_ref)
        if not self.wire.pace.spare(chat):
            return
        ticket = await self.usecases.jobs.ticket_at(job, progress)
        text = chat_texts.say_standing(ticket, progress, job.origin.locale)
        markup = self._buttons(ticket.job)
        if progress.preview:
            preview = Media(progress.preview, "image/jpeg")
            self._pictured.add(message_ref)
            await self.wire.edit_photo(message_ref, preview, text, markup, has_spoiler=is_hidden(job))
        else:
            await self._write(message_ref, text, markup)

    async def _write(self, message_ref: str, text: str, markup: InlineKeyboardMarkup | None) -> None:
        """Whatever it is by now: a text, or a picture that a text can stand under."""
        first, second = self.wire.edit_text, self.wire.edit_caption
        if message_ref in self._pictured:
            first, second = second, first
        try:
            await first(message_ref, text, markup)
        except OtherKind:
            await second(message_ref, text, markup)

    # ------------------------------------------------------------ the result

    async def edit(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        """Raises: MessageGone, Undeliverable, PlatformError."""
        assert delivery.message_ref is not None
        ref, job = delivery.message_ref, delivery.job
        chat, _ = of_ref(ref)
        shown, text = await self._shown(job, pictures)
        await self.wire.turn(chat, delivery.nonce)
        try:
            if shown is None and job.error is not None and job.error.code == Blocked.code:
                ref = await self._withdraw(ref, job, text, delivery.nonce)
            elif shown is None:
                await self._write(ref, text, self._buttons(job))
            else:
                await self.wire.edit_photo(ref, shown, text, self._buttons(job), has_spoiler=is_hidden(job))
        except Undeliverable as refused:
            ref = await self._post(_private(job, refused), job, shown, text, delivery.nonce)
        self._pictured.discard(delivery.message_ref)
        return ref

    async def _withdraw(self, ref: str, job: Job, text: str, key: str) -> str:
        """Words where a preview may stand that nobody is to see: a picture of Telegram's never becomes words again."""
        try:
            await self.wire.edit_text(ref, text, self._buttons(job))
        except OtherKind:
            told = await self._post(spot_of_origin(job.origin), job, None, text, key)
            with suppress(PlatformError):
                await self.wire.delete(ref)
            return told
        return ref

    async def send(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        """Raises: Undeliverable, PlatformError."""
        job = delivery.job
        shown, text = await self._shown(job, pictures)
        try:
            return await self._post(spot_of_origin(job.origin), job, shown, text, delivery.nonce)
        except Undeliverable as refused:
            return await self._post(_private(job, refused), job, shown, text, delivery.nonce)

    async def tell_kept(self, delivery: Delivery) -> None:
        assert delivery.message_ref is not None
        chat, _ = of_ref(delivery.message_ref)
        await self.wire.turn(chat, delivery.nonce)
        await self._write(delivery.message_ref, chat_texts.say_kept(delivery.job, delivery.job.origin.locale), None)

    async def show(self, spot: Spot, job: Job, pictures: Sequence[Media]) -> str:
        """A job once more, somewhere else, by whoever has the turn to write there. Raises: PlatformError."""
        shown, text = await self._shown(job, pictures)
        return await self._put(spot, job, shown, text)

    async def _post(self, spot: Spot, job: Job, shown: Media | None, text: str, key: str) -> str:
        await self.wire.turn(spot.chat, key)
        return await self._put(spot, job, shown, text)

    async def _put(self, spot: Spot, job: Job, shown: Media | None, text: str) -> str:
        if shown is None:
            return ref_of(await self.wire.text(spot, text, self._buttons(job)))
        return ref_of(await self.wire.photo(spot, shown, text, self._buttons(job), has_spoiler=is_hidden(job)))

    async def _shown(self, job: Job, pictures: Sequence[Media]) -> tuple[Media | None, str]:
        """One picture of all, small enough, and the words under it."""
        text = chat_texts.say_result(job, job.origin.locale)
        if not pictures:
            return None, text
        shown, is_smaller = await self.usecases.media.fit(await self.usecases.media.grid(pictures), MAX_PHOTO)
        smaller = chat_texts.say_text(chat_texts.SMALLER, job.origin.locale)
        return shown, f"{text}\n{smaller}" if is_smaller else text


def is_hidden(job: Job) -> bool:
    """What was asked with a spoiler is answered with one, and so is what its chat wants hidden."""
    return job.is_spoiler


def _private(job: Job, refused: PlatformError) -> Spot:
    """The asker's own chat, when a group will not have it. Raises: what was refused, if there is none other."""
    account = int(job.origin.account_id)
    if isinstance(refused, Unreadable) or account <= 0 or str(account) == job.origin.chat_id:
        raise refused
    return Spot(account)
