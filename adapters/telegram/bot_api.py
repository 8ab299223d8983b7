"""Calls to the Bot API: rate-limited per chat, with Easel's own errors, and never with a parse mode.

People's text is sent as plain text, so nothing in it can break a message or imitate markup.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypedDict, TypeVar

import structlog
from telegram import (
    Bot,
    ForceReply,
    InlineKeyboardMarkup,
    InputMediaDocument,
    InputMediaPhoto,
    LinkPreviewOptions,
    Message,
    ReplyParameters,
)

from adapters.telegram.bot_client import ChatMoved, NotReached, UnreadableResponse, translate_errors
from adapters.telegram.code_entities import mark_commands
from adapters.telegram.error_descriptions import FileTooBig, FileUnavailable, NotModified, PhotoRejected, TopicDeleted
from adapters.telegram.file_request import MAX_DOWNLOAD_MB
from adapters.telegram.rate_limit import Lane, TelegramRateLimiter
from adapters.telegram.text_limits import MAX_CALLBACK_TEXT, MAX_TEXT, truncate, truncate_caption
from bot.errors import TooLarge, UnsupportedMedia, UserError
from bot.jobs import Media, Origin
from bot.ports.images import has_transparency
from bot.ports.platform_answers import MessageGone, PlatformError, ReplyRejected, TokenRefused, UnclearAnswer

log = structlog.get_logger()

MAX_WAIT_S = 0.5
"""A slot that comes this soon is waited for; for a later one the caller retries."""
DOWNLOAD_TRIES, DOWNLOAD_TIMEOUT_S, DOWNLOAD_RETRY_S = 4, 30.0, 0.25
"""Of one file, if Telegram can be reached; the person then reads that it is not available."""
T = TypeVar("T")


@dataclass(frozen=True)
class ChatTarget:
    """Where to write: a chat, its forum topic if any, and the message replied to.

    `tries`: how often that failed before; after a few unclear answers the fallbacks are used.
    """

    chat: int
    thread: int = 0
    reply_to: int = 0
    tries: int = 0


def reply_target(message: Message) -> ChatTarget:
    """The target of a reply. Reply threads have ids too, but only topics may be named."""
    thread = message.message_thread_id or 0 if message.is_topic_message else 0
    return ChatTarget(message.chat.id, thread, message.message_id)


def origin_target(origin: Origin) -> ChatTarget:
    return ChatTarget(int(origin.chat_id), int(origin.thread_id or 0), int(origin.message_id or 0))


def message_ref(message: Message) -> str:
    return f"{message.chat.id}:{message.message_id}"


def parse_ref(ref: str) -> tuple[int, int]:
    chat, _, number = ref.partition(":")
    return int(chat), int(number)


def file_name(media: Media, name: str) -> str:
    return f"{name}.{media.media_type.partition('/')[2].replace('jpeg', 'jpg') or 'bin'}"


class TelegramApi:
    def __init__(self, bot: Bot, rate_limiter: TelegramRateLimiter) -> None:
        self.bot = bot
        self.rate_limiter = rate_limiter
        self.on_chat_moved: Callable[[int, int], Awaitable[None]] | None = None
        """Called with the old and the new id of a group that became a supergroup."""

    async def wait_for_slot(self, chat: int, key: str, *, owner: str = "", lane: Lane = Lane.RESULT) -> None:
        """Wait for a slot to write, for `owner`. Raises: PlatformError with `retry_after_s`, if that is not soon."""
        while (wait_s := self.rate_limiter.reserve(chat, key, owner=owner, lane=lane)) > 0:
            if wait_s > MAX_WAIT_S:
                raise PlatformError("the chat's next slot is later", retry_after_s=wait_s)
            await asyncio.sleep(wait_s)

    # ------------------------------------------------------------ new messages

    async def send_text(
        self, target: ChatTarget, text: str, markup: InlineKeyboardMarkup | ForceReply | None = None
    ) -> Message:
        """Raises: PlatformError."""
        shown, entities = mark_commands(truncate(text, MAX_TEXT))
        return await self._post(
            target,
            lambda to: self.bot.send_message(
                to.chat,
                shown,
                entities=entities,
                reply_markup=markup,
                link_preview_options=LinkPreviewOptions(is_disabled=True),
                **_target_arguments(to),
            ),
        )

    async def send_photo(
        self, target: ChatTarget, media: Media, caption: str, markup: InlineKeyboardMarkup | None, *, has_spoiler: bool
    ) -> Message:
        """As a file, if Telegram does not accept it as a photo, or it is transparent. Raises: PlatformError."""
        if has_transparency(media) and not has_spoiler:  # a file cannot be hidden
            return await self.send_document(target, media, "picture", caption, markup)
        text, entities = mark_commands(truncate_caption(caption))
        try:
            return await self._post(
                target,
                lambda to: self.bot.send_photo(
                    to.chat,
                    media.data,
                    text,
                    caption_entities=entities,
                    filename=file_name(media, "picture"),
                    has_spoiler=has_spoiler,
                    reply_markup=markup,
                    **_target_arguments(to),
                ),
            )
        except PhotoRejected:
            pass
        except UnclearAnswer as error:
            if target.tries < error.patience:
                raise
        return await self.send_document(target, media, "picture", caption, markup)

    async def send_document(
        self, target: ChatTarget, media: Media, name: str, caption: str = "", markup: InlineKeyboardMarkup | None = None
    ) -> Message:
        """Raises: PlatformError."""
        text, entities = mark_commands(truncate_caption(caption))
        return await self._post(
            target,
            lambda to: self.bot.send_document(
                to.chat,
                media.data,
                text or None,
                caption_entities=entities,
                filename=file_name(media, name),
                disable_content_type_detection=True,
                reply_markup=markup,
                **_target_arguments(to),
            ),
        )

    async def send_album(self, target: ChatTarget, files: Mapping[str, Media], caption: str = "") -> list[Message]:
        """Two to ten files by name as one album, with a caption under the last. Raises: PlatformError."""
        text, entities = mark_commands(truncate_caption(caption))
        parts = [
            InputMediaDocument(
                one.data,
                text or None if number == len(files) else None,
                caption_entities=entities if number == len(files) else None,
                filename=file_name(one, name),
                disable_content_type_detection=True,
            )
            for number, (name, one) in enumerate(files.items(), 1)
        ]
        return list(
            await self._post(target, lambda to: self.bot.send_media_group(to.chat, parts, **_target_arguments(to)))
        )

    async def _post(self, target: ChatTarget, send: Callable[[ChatTarget], Awaitable[T]]) -> T:
        """Retry without the topic if it was deleted, without the reply, or in the chat that the group moved to."""
        for _ in range(4):
            try:
                with translate_errors(self.rate_limiter, target.chat):
                    return await send(target)
            except TopicDeleted:
                if not target.thread:
                    raise
                target = replace(target, thread=0)
            except ReplyRejected:
                if not target.reply_to:
                    raise
                target = replace(target, reply_to=0)
            except UnclearAnswer as error:
                if not target.reply_to or target.tries < error.patience:
                    raise
                target = replace(target, reply_to=0)
            except ChatMoved as moved:
                await self._follow_chat(target.chat, moved.chat)
                target = ChatTarget(moved.chat, tries=target.tries)
        raise PlatformError("the chat keeps moving")

    async def _follow_chat(self, old: int, new: int) -> None:
        """What belongs to the chat gets its new id; if that fails, the service message about it does it later."""
        if self.on_chat_moved is None:
            return
        try:
            await self.on_chat_moved(old, new)
        except UserError as error:
            log.warning("a moved chat has to wait", action="chat_waits", code=error.code)

    # ------------------------------------------------------------ edits

    async def edit_text(self, ref: str, text: str, markup: InlineKeyboardMarkup | None) -> None:
        """Raises: MessageGone, WrongMessageKind (it is a picture), PlatformError."""
        chat, number = parse_ref(ref)
        shown, entities = mark_commands(truncate(text, MAX_TEXT))
        await self._edit(
            chat,
            self.bot.edit_message_text(
                shown,
                chat,
                number,
                entities=entities,
                reply_markup=markup,
                link_preview_options=LinkPreviewOptions(is_disabled=True),
            ),
        )

    async def edit_caption(self, ref: str, text: str, markup: InlineKeyboardMarkup | None) -> None:
        chat, number = parse_ref(ref)
        shown, entities = mark_commands(truncate_caption(text))
        await self._edit(
            chat,
            self.bot.edit_message_caption(chat, number, caption=shown, caption_entities=entities, reply_markup=markup),
        )

    async def edit_photo(
        self,
        ref: str,
        media: Media,
        caption: str,
        markup: InlineKeyboardMarkup | None,
        *,
        has_spoiler: bool = False,
        tries: int = 0,
    ) -> None:
        """Replace a message by this picture, as a file if Telegram does not accept it as a photo, or it is
        transparent."""
        chat, number = parse_ref(ref)
        name = file_name(media, "picture")
        text, entities = mark_commands(truncate_caption(caption))
        photo = InputMediaPhoto(media.data, text, caption_entities=entities, filename=name, has_spoiler=has_spoiler)
        if has_spoiler or not has_transparency(media):
            try:
                await self._edit(chat, self.bot.edit_message_media(photo, chat, number, reply_markup=markup))
                return
            except PhotoRejected:
                pass
            except UnclearAnswer as error:
                if tries < error.patience:
                    raise
        file = InputMediaDocument(
            media.data, text, caption_entities=entities, filename=name, disable_content_type_detection=True
        )
        await self._edit(chat, self.bot.edit_message_media(file, chat, number, reply_markup=markup))

    async def _edit(self, chat: int, call: Awaitable[Message | bool]) -> None:
        try:
            with translate_errors(self.rate_limiter, chat):
                await call
        except (NotModified, UnreadableResponse):
            pass  # the edit was applied, now or before
        except ChatMoved as moved:
            await self._follow_chat(chat, moved.chat)
            raise MessageGone("the chat has moved") from moved

    async def delete_message(self, ref: str) -> None:
        chat, number = parse_ref(ref)
        with translate_errors(self.rate_limiter, chat):
            await self.bot.delete_message(chat, number)

    # ------------------------------------------------------------ the rest

    async def answer_callback(self, query_id: str, text: str = "", *, is_alert: bool = False) -> None:
        """Answer a button press. Raises: PlatformError, also if it is too old."""
        with translate_errors():
            plain, _ = mark_commands(truncate(text, MAX_CALLBACK_TEXT))
            await self.bot.answer_callback_query(query_id, plain or None, show_alert=is_alert)

    async def download_file(self, file_id: str, max_mb: float) -> bytes:
        """Tried a few times while Telegram responds. Raises: TooLarge, UnsupportedMedia, PlatformError."""
        limit = min(max_mb, MAX_DOWNLOAD_MB)
        for tries in range(DOWNLOAD_TRIES):
            try:
                async with asyncio.timeout(DOWNLOAD_TIMEOUT_S):
                    return await self._download_once(file_id, limit)
            except FileTooBig as error:
                raise TooLarge(limit=limit, unit="MiB") from error
            except FileUnavailable as error:
                raise UnsupportedMedia("unavailable") from error
            except (NotReached, TokenRefused):
                raise
            except (PlatformError, TimeoutError) as error:
                log.info("a file could not be fetched", action="fetch_failed", error=type(error).__name__)
            await asyncio.sleep(DOWNLOAD_RETRY_S * 2**tries)
        raise UnsupportedMedia("unavailable")

    async def _download_once(self, file_id: str, limit: float) -> bytes:
        with translate_errors():
            file = await self.bot.get_file(file_id)
            if (file.file_size or 0) > limit * 2**20:
                raise TooLarge(limit=limit, unit="MiB")
            return bytes(await file.download_as_bytearray())


class _TargetArguments(TypedDict):
    message_thread_id: int | None
    reply_parameters: ReplyParameters | None


def _target_arguments(target: ChatTarget) -> _TargetArguments:
    """The arguments for the topic and the reply; the message replied to may be gone."""
    reply = ReplyParameters(target.reply_to, allow_sending_without_reply=True) if target.reply_to else None
    return {"message_thread_id": target.thread or None, "reply_parameters": reply}
