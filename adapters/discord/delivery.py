"""Delivers jobs as messages: placeholder, progress, result, each with its fallbacks.

The message is an ordinary message of the bot: it can be edited at any time, and the bot receives the replies to it.
Where the bot may not post, the answer to the interaction is used until its token expires, then a private message, then
/show.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import discord
import structlog

from adapters.discord import rendering, texts
from adapters.discord.context import DiscordContext
from adapters.discord.error_codes import ContentRejected, EditLimitReached, FileTooLarge, NoAccess, ThreadArchived
from adapters.discord.events import NOT_INSTALLED, TOKEN_LIFETIME_S
from adapters.discord.limits import FILE_LIMIT, MAX_CONTENT
from bot.chat import texts as chat_texts
from bot.chat.arguments import SLASH
from bot.errors import TooLarge
from bot.jobs import Job, Media
from bot.ports import Delivery, Progress
from bot.ports.platform_answers import MessageGone, NotPermitted, PlatformError, ReplyRejected, UnclearAnswer
from bot.usecases import Ticket

log = structlog.get_logger()

SHRINK_FACTORS = (1.0, 0.8, 0.4, 0.1)
"""Fractions of the limit that are tried in turn when Discord still rejects a file as too large."""
MAX_NONCE = 25
DELETE_TIMEOUT_S = 10.0


class MessageDelivery:
    """`bot.ports.Platform` for Discord."""

    def __init__(self, context: DiscordContext) -> None:
        self._context = context

    # ------------------------------------------------------------ the placeholder

    async def post_placeholder(self, delivery: Delivery) -> str:
        job = delivery.job
        ticket = await self._context.usecases.jobs.ticket_for(job)
        if job.origin.extra.get("missing"):
            if self._has_valid_token(job):
                with suppress(NoAccess, MessageGone):
                    return await self._place_by_token(job, ticket)
            return await self._post_privately(delivery, **rendering.render_placeholder(self._context.usecases, ticket))
        content = rendering.render_placeholder(self._context.usecases, ticket)
        try:
            ref = await self._post(delivery, **content)
        except (NoAccess, MessageGone):
            ref = await self._post_privately(delivery, **content)
        await self._delete_deferral(job)
        return ref

    async def _place_by_token(self, job: Job, ticket: Ticket) -> str:
        response = int(job.origin.extra["response"])
        content = rendering.render_placeholder(self._context.usecases, ticket, extra_line=self._cannot_post(job))
        with self._context.translate_errors():
            await self._webhook(job).edit_message(response, **content)
        return f"{job.origin.chat_id}:{response}"

    def _cannot_post(self, job: Job) -> str:
        missing = job.origin.extra.get("missing") or ["?"]
        sentence = texts.NOT_A_MEMBER if NOT_INSTALLED in missing else texts.CANNOT_POST_HERE
        show = chat_texts.write_show(job, SLASH)
        return chat_texts.format_text(sentence, job.origin.locale, missing=", ".join(missing), show=show)

    async def _delete_deferral(self, job: Job) -> None:
        """The message is in the channel, so "thinking" is no longer shown."""
        if not self._has_valid_token(job):
            return
        try:
            with self._context.translate_errors():
                async with asyncio.timeout(DELETE_TIMEOUT_S):  # the message is posted, and may not be posted again
                    await self._webhook(job).delete_message(int(job.origin.extra["response"]))
        except PlatformError as error:
            log.info("a deferral could not be deleted", action="deferral_stays", detail=error.detail)

    # ------------------------------------------------------------ progress

    async def show_progress(self, job: Job, message_ref: str, progress: Progress) -> bool:
        """As soon as the limits allow, unless newer progress comes first."""
        channel, message = _parse_ref(message_ref)
        if str(channel) != job.origin.chat_id:  # the rules that allow previews are those of the other chat
            progress = replace(progress, preview=None, text="")

        async def show() -> None:
            ticket = await self._context.usecases.jobs.ticket_with_progress(job, progress)
            content = rendering.render_progress(self._context.usecases, ticket, progress)
            with self._context.translate_errors():
                await self._edit_by_any_means(job, channel, message, **content)

        self._context.progress_editors.schedule(self._rate_bucket(job, channel, message), message_ref, show)
        return True

    # ------------------------------------------------------------ the result

    async def edit_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        job = delivery.job
        assert delivery.message_ref is not None
        channel, message = _parse_ref(delivery.message_ref)
        await self._context.progress_editors.finish(self._rate_bucket(job, channel, message), delivery.message_ref)

        async def edit(**content: Any) -> None:
            await self._edit_message(job, channel, message, **content)

        allowed = pictures if job.may_be_delivered_to(str(channel)) else []
        try:
            await self._deliver_result(job, allowed, edit)
        except (EditLimitReached, ThreadArchived):
            return await self._replace_message(delivery, pictures, message)
        except NoAccess as error:
            raise MessageGone(error.detail) from error
        except UnclearAnswer as error:
            if delivery.tries < error.patience:
                raise
            return await self._replace_message(delivery, pictures, message)
        return delivery.message_ref

    async def _replace_message(self, delivery: Delivery, pictures: Sequence[Media], message: int) -> str:
        """A new message instead of one that cannot be edited, which is deleted: it still says that it is queued."""
        new_ref = await self._send(delivery, pictures)
        channel, _ = _parse_ref(str(delivery.message_ref))
        try:
            with self._context.translate_errors():
                await self._delete_by_any_means(delivery.job, channel, message)
        except PlatformError as error:
            log.info("a placeholder could not be deleted", action="placeholder_stays", detail=error.detail)
        return new_ref

    async def send_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        return await self._send(delivery, pictures)

    async def notify_undeliverable(self, delivery: Delivery) -> None:
        job = delivery.job
        assert delivery.message_ref is not None
        await self._edit_message(job, *_parse_ref(delivery.message_ref), **rendering.render_undeliverable(job))

    async def retract_message(self, delivery: Delivery, message_ref: str) -> None:
        channel, message = _parse_ref(message_ref)
        await self._context.progress_editors.finish(str(channel), message_ref)
        await self._wait_for_slot(str(channel), delivery.job)
        with self._context.translate_errors():
            await self._delete_by_any_means(delivery.job, channel, message)

    async def _edit_message(self, job: Job, channel: int, message: int, **content: Any) -> None:
        await self._wait_for_slot(self._rate_bucket(job, channel, message), job)
        with self._context.translate_errors():
            await self._edit_by_any_means(job, channel, message, attachments=content.pop("files"), **content)

    async def _send(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        """A new message: in the channel, else in private. Raises: NotPermitted."""
        job, refs = delivery.job, []

        async def post(**content: Any) -> None:
            refs.append(await self._post(delivery, **content))

        async def private(**content: Any) -> None:
            reason = rendering.to_plain_text(chat_texts.format_text(chat_texts.SENT_PRIVATELY, job.origin.locale))
            content["content"] = f"{content['content'][: MAX_CONTENT - len(reason) - 1]}\n{reason}"
            refs.append(await self._post_privately(delivery, **content))

        if not job.origin.extra.get("missing"):
            try:
                await self._deliver_result(job, pictures, post)
            except (NoAccess, MessageGone) as error:
                log.info("no access to the channel", action="channel_closed", detail=error.detail)
        if not refs:
            allowed = [] if job.is_adult else pictures  # a private chat may be a child's
            await self._deliver_result(job, allowed, private)
        return str(refs[-1])

    async def _deliver_result(self, job: Job, pictures: Sequence[Media], write: Any) -> None:
        """Write the result; if Discord rejects it, a sentence that says where it is. Raises: PlatformError."""
        try:
            await self._deliver_shrinking(job, pictures, write)
        except ContentRejected as error:
            log.warning("Discord rejected a result", action="result_not_taken", detail=error.detail)
            await write(**rendering.render_undeliverable(job))

    async def _deliver_shrinking(self, job: Job, pictures: Sequence[Media], write: Any) -> None:
        """Retry with smaller files while Discord rejects them as too large. Raises: PlatformError."""
        limit = int(job.origin.extra.get("limit") or FILE_LIMIT)
        for factor in SHRINK_FACTORS:
            try:
                content = await rendering.render_result(
                    self._context.usecases, job, pictures, limit=int(limit * factor)
                )
                await write(**content)
            except FileTooLarge:
                limit = min(limit, FILE_LIMIT)
                continue
            except TooLarge as error:
                raise ContentRejected("no encoding is small enough") from error
            return
        raise ContentRejected("Discord rejected every encoding as too large")

    # ------------------------------------------------------------ messages

    async def _post(self, delivery: Delivery, **content: Any) -> str:
        """Post an ordinary message in the job's channel, as a reply if possible; returns its ref.

        Raises: NoAccess, PlatformError.
        """
        origin = delivery.job.origin
        if not origin.message_id:
            return await self._post_once(delivery, **content)
        reference = discord.MessageReference(
            message_id=int(origin.message_id), channel_id=int(origin.chat_id), fail_if_not_exists=False
        )
        try:
            return await self._post_once(delivery, reference=reference, **content)
        except ReplyRejected as error:
            log.info("a reply was not accepted", action="reply_rejected", detail=error.detail)
        except UnclearAnswer as error:
            if delivery.tries < error.patience:
                raise
        return await self._post_once(delivery, **content)

    async def _post_once(self, delivery: Delivery, **content: Any) -> str:
        client = self._context.connected_client()
        channel = delivery.job.origin.chat_id
        await self._wait_for_slot(channel, delivery.job)
        for file in content.get("files", ()):
            file.reset()
        with self._context.translate_errors():
            message = await client.get_partial_messageable(int(channel)).send(
                nonce=delivery.nonce[:MAX_NONCE], suppress_embeds=True, **content
            )
        return f"{channel}:{message.id}"

    async def _post_privately(self, delivery: Delivery, **content: Any) -> str:
        """Raises: NotPermitted: the person accepts no private messages; /show has the answer."""
        client, account = self._context.connected_client(), delivery.job.origin.account_id
        await self._wait_for_slot(f"dm:{account}", delivery.job)
        try:
            with self._context.translate_errors():
                channel = await client.create_dm(discord.Object(int(account)))
                message = await channel.send(nonce=delivery.nonce[:MAX_NONCE], suppress_embeds=True, **content)
        except MessageGone as error:
            raise NotPermitted(error.detail) from error
        return f"{channel.id}:{message.id}"

    async def _edit_by_any_means(self, job: Job, channel: int, message: int, **content: Any) -> None:
        client = self._context.connected_client()
        if self._uses_token(job, channel, message):
            if not self._has_valid_token(job):
                raise NoAccess("the interaction is over")
            await self._webhook(job).edit_message(message, **content)
            return
        await client.get_partial_messageable(channel).get_partial_message(message).edit(**content)

    async def _delete_by_any_means(self, job: Job, channel: int, message: int) -> None:
        client = self._context.connected_client()
        if self._uses_token(job, channel, message):
            if self._has_valid_token(job):
                await self._webhook(job).delete_message(message)
            return
        await client.get_partial_messageable(channel).get_partial_message(message).delete()

    async def _wait_for_slot(self, bucket: str, job: Job) -> None:
        self._context.connected_client()
        await self._context.rate_limiter.wait_for_slot(bucket, owner=job.owner)

    def _rate_bucket(self, job: Job, channel: int, message: int) -> str:
        """The rate limit that applies: the channel's or the interaction's."""
        return f"token:{message}" if self._uses_token(job, channel, message) else str(channel)

    def _uses_token(self, job: Job, channel: int, message: int) -> bool:
        """Whether the message is the answer to an interaction, which only its token can edit."""
        return bool(job.origin.extra.get("missing")) and str(message) == str(job.origin.extra.get("response"))

    def _has_valid_token(self, job: Job) -> bool:
        extra = job.origin.extra
        is_known = bool(extra.get("token") and extra.get("response"))
        return is_known and self._context.now() - float(extra.get("at", 0)) < TOKEN_LIFETIME_S

    def _webhook(self, job: Job) -> discord.Webhook:
        extra = job.origin.extra
        return discord.Webhook.partial(int(extra["app"]), str(extra["token"]), client=self._context.connected_client())


def _parse_ref(message_ref: str) -> tuple[int, int]:
    channel, _, message = message_ref.partition(":")
    return int(channel), int(message)
