"""Calls to the Bot API: paced for each chat, with our own errors, and never with a parse mode.

What people wrote goes out as plain text, so nothing in it can break a message or pretend to be one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, TypeVar

from telegram import (
    Bot,
    InlineKeyboardMarkup,
    InputMediaDocument,
    InputMediaPhoto,
    LinkPreviewOptions,
    Message,
    ReplyParameters,
)
from telegram.error import BadRequest

from adapters.telegram.bot_client import ChatMoved, NotModified, ThreadGone, TooBig, Unfit, Unreadable, calls
from adapters.telegram.rate_limit import Pace
from adapters.telegram.text_limits import MAX_ANSWER, MAX_CAPTION, MAX_TEXT, cut
from bot.errors import MessageGone, PlatformError, TooLarge, UnsupportedMedia
from bot.jobs import Media, Origin

WAIT_S = 0.5
"""A turn that comes so soon is waited for; for a later one the caller comes back."""
FETCH_MB = 20
"""What a bot may download."""
T = TypeVar("T")


@dataclass(frozen=True)
class Spot:
    """A place to write to: a chat, in it perhaps a forum topic, and the message that is answered."""

    chat: int
    thread: int = 0
    reply_to: int = 0


def spot_of(message: Message) -> Spot:
    """Where an answer to a message belongs. Threads of replies have numbers too, but only topics may be named."""
    thread = message.message_thread_id or 0 if message.is_topic_message else 0
    return Spot(message.chat.id, thread, message.message_id)


def spot_of_origin(origin: Origin) -> Spot:
    return Spot(int(origin.chat_id), int(origin.thread_id or 0), int(origin.message_id or 0))


def ref_of(message: Message) -> str:
    return f"{message.chat.id}:{message.message_id}"


def of_ref(ref: str) -> tuple[int, int]:
    chat, _, number = ref.partition(":")
    return int(chat), int(number)


def file_name(media: Media, name: str) -> str:
    return f"{name}.{media.media_type.partition('/')[2].replace('jpeg', 'jpg') or 'bin'}"


class Wire:
    def __init__(self, bot: Bot, pace: Pace) -> None:
        self.bot = bot
        self.pace = pace

    async def turn(self, chat: int, key: str, *, is_urgent: bool = False) -> None:
        """Wait for the turn to write. Raises: PlatformError with when to come back, if that is not soon."""
        while (wait_s := self.pace.admit(chat, key, is_urgent=is_urgent)) > 0:
            if wait_s > WAIT_S:
                raise PlatformError("its turn is later", retry_after_s=wait_s)
            await asyncio.sleep(wait_s)

    # ------------------------------------------------------------ new messages

    async def text(self, spot: Spot, text: str, markup: InlineKeyboardMarkup | None = None) -> Message:
        """Raises: PlatformError."""
        return await self._post(
            spot,
            lambda to: self.bot.send_message(
                to.chat,
                cut(text, MAX_TEXT),
                reply_markup=markup,
                link_preview_options=LinkPreviewOptions(is_disabled=True),
                **_place(to),
            ),
        )

    async def photo(
        self, spot: Spot, media: Media, caption: str, markup: InlineKeyboardMarkup | None, *, has_spoiler: bool
    ) -> Message:
        """As a file where Telegram takes it as no photo. Raises: PlatformError."""
        try:
            return await self._post(
                spot,
                lambda to: self.bot.send_photo(
                    to.chat,
                    media.data,
                    cut(caption, MAX_CAPTION),
                    filename=file_name(media, "picture"),
                    has_spoiler=has_spoiler,
                    reply_markup=markup,
                    **_place(to),
                ),
            )
        except Unfit:
            return await self.document(spot, media, "picture", caption, markup)

    async def document(
        self, spot: Spot, media: Media, name: str, caption: str = "", markup: InlineKeyboardMarkup | None = None
    ) -> Message:
        """Raises: PlatformError."""
        return await self._post(
            spot,
            lambda to: self.bot.send_document(
                to.chat,
                media.data,
                cut(caption, MAX_CAPTION) or None,
                filename=file_name(media, name),
                disable_content_type_detection=True,
                reply_markup=markup,
                **_place(to),
            ),
        )

    async def documents(self, spot: Spot, files: Sequence[Media], name: str) -> list[Message]:
        """Two to ten files as one album. Raises: PlatformError."""
        parts = [
            InputMediaDocument(
                one.data, filename=file_name(one, f"{name}-{number}"), disable_content_type_detection=True
            )
            for number, one in enumerate(files, 1)
        ]
        return list(await self._post(spot, lambda to: self.bot.send_media_group(to.chat, parts, **_place(to))))

    async def _post(self, spot: Spot, send: Callable[[Spot], Awaitable[T]]) -> T:
        """Once more without its topic if that was deleted, or to where the group has moved."""
        for _ in range(3):
            try:
                with calls(self.pace, spot.chat):
                    return await send(spot)
            except ThreadGone:
                if not spot.thread:
                    raise
                spot = replace(spot, thread=0)
            except ChatMoved as moved:
                spot = Spot(moved.chat)
        raise PlatformError("the chat keeps moving")

    # ------------------------------------------------------------ edits

    async def edit_text(self, ref: str, text: str, markup: InlineKeyboardMarkup | None) -> None:
        """Raises: MessageGone, OtherKind (it is a picture), PlatformError."""
        chat, number = of_ref(ref)
        await self._edit(
            chat,
            self.bot.edit_message_text(
                cut(text, MAX_TEXT),
                chat,
                number,
                reply_markup=markup,
                link_preview_options=LinkPreviewOptions(is_disabled=True),
            ),
        )

    async def edit_caption(self, ref: str, text: str, markup: InlineKeyboardMarkup | None) -> None:
        chat, number = of_ref(ref)
        await self._edit(
            chat, self.bot.edit_message_caption(chat, number, caption=cut(text, MAX_CAPTION), reply_markup=markup)
        )

    async def edit_photo(
        self, ref: str, media: Media, caption: str, markup: InlineKeyboardMarkup | None, *, has_spoiler: bool = False
    ) -> None:
        """Turn a message into this picture, as a file where Telegram takes it as no photo."""
        chat, number = of_ref(ref)
        words, name = cut(caption, MAX_CAPTION), file_name(media, "picture")
        photo = InputMediaPhoto(media.data, words, filename=name, has_spoiler=has_spoiler)
        try:
            await self._edit(chat, self.bot.edit_message_media(photo, chat, number, reply_markup=markup))
        except Unfit:
            file = InputMediaDocument(media.data, words, filename=name)
            await self._edit(chat, self.bot.edit_message_media(file, chat, number, reply_markup=markup))

    async def _edit(self, chat: int, call: Awaitable[Message | bool]) -> None:
        try:
            with calls(self.pace, chat):
                await call
        except (NotModified, Unreadable):
            pass  # an edit that was done, now or before
        except ChatMoved as moved:
            raise MessageGone("the chat has moved") from moved

    async def delete(self, ref: str) -> None:
        chat, number = of_ref(ref)
        with calls(self.pace, chat):
            await self.bot.delete_message(chat, number)

    # ------------------------------------------------------------ the rest

    async def answer(self, query_id: str, text: str = "", *, is_alert: bool = False) -> None:
        """End a button's waiting. Raises: PlatformError, also when it waited for too long."""
        with calls():
            await self.bot.answer_callback_query(query_id, cut(text, MAX_ANSWER) or None, show_alert=is_alert)

    async def fetch(self, file_id: str, max_mb: float) -> bytes:
        """Raises: TooLarge, UnsupportedMedia, PlatformError."""
        limit = min(max_mb, FETCH_MB)
        try:
            with calls():
                file = await self.bot.get_file(file_id)
                if (file.file_size or 0) > limit * 2**20:
                    raise TooLarge(limit=limit, unit="MiB")
                return bytes(await file.download_as_bytearray())
        except TooBig as error:
            raise TooLarge(limit=limit, unit="MiB") from error
        except PlatformError as error:
            if isinstance(error.__cause__, BadRequest):  # it is Telegram's no more
                raise UnsupportedMedia("damaged") from error
            raise


class _Place(TypedDict):
    message_thread_id: int | None
    reply_parameters: ReplyParameters | None


def _place(spot: Spot) -> _Place:
    """Where in the chat. The message answered may be gone meanwhile."""
    reply = ReplyParameters(spot.reply_to, allow_sending_without_reply=True) if spot.reply_to else None
    return {"message_thread_id": spot.thread or None, "reply_parameters": reply}
