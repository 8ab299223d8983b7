"""Jobs become messages: placeholder, progress, result, each with its fallbacks.

The message is an ordinary one of the bot's, so that it can be edited for as long as it takes and replies to it are
heard. Where the bot may not post, the answer to the interaction is the message for as long as its token lives; then a
private message; then /show.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import discord
import structlog

from adapters.discord import rendering, texts
from adapters.discord.context import DiscordContext
from adapters.discord.error_mapping import ContentRejected, EditLimitReached, FileTooLarge, NoAccess, translate_errors
from adapters.discord.events import TOKEN_LIFETIME_S
from bot.chat import texts as chat_texts
from bot.errors import MessageGone, PlatformError, TooLarge, Undeliverable
from bot.jobs import Job, Media
from bot.ports import Delivery, Progress
from bot.usecases import Ticket

log = structlog.get_logger()

SHRINK_FACTORS = (1.0, 0.8, 0.4, 0.1)
"""Parts of the limit that are tried when Discord finds a file too large all the same."""
MAX_NONCE = 25


class MessageDelivery:
    """`bot.ports.Platform` for Discord."""

    def __init__(self, context: DiscordContext) -> None:
        self._context = context

    # ------------------------------------------------------------ the placeholder

    async def place(self, delivery: Delivery) -> str:
        job = delivery.job
        ticket = await self._context.usecases.jobs.ticket(job)
        if job.origin.extra.get("missing"):
            if self._has_valid_token(job):
                with suppress(NoAccess, MessageGone):
                    return await self._place_by_token(job, ticket)
            return await self._post_privately(
                job, delivery.nonce, **rendering.render_placeholder(self._context.usecases, ticket)
            )
        try:
            ref = await self._post(
                job, nonce=delivery.nonce, **rendering.render_placeholder(self._context.usecases, ticket)
            )
        except (NoAccess, MessageGone):
            ref = await self._post_privately(
                job, delivery.nonce, **rendering.render_placeholder(self._context.usecases, ticket)
            )
        await self._delete_deferral(job)
        return ref

    async def _place_by_token(self, job: Job, ticket: Ticket) -> str:
        response = int(job.origin.extra["response"])
        said = rendering.render_placeholder(self._context.usecases, ticket, extra_line=self._cannot_post(job))
        with translate_errors():
            await self._webhook(job).edit_message(response, **said)
        return f"{job.origin.chat_id}:{response}"

    def _cannot_post(self, job: Job) -> str:
        missing = ", ".join(job.origin.extra.get("missing") or ["?"])
        return chat_texts.say_text(texts.CANNOT_POST_HERE, job.origin.locale, missing=missing, id=job.id[:6])

    async def _delete_deferral(self, job: Job) -> None:
        """The message stands in the channel, so nobody is thinking any more."""
        if not self._has_valid_token(job):
            return
        try:
            with translate_errors():
                await self._webhook(job).delete_message(int(job.origin.extra["response"]))
        except PlatformError as error:
            log.info("the deferral stays", action="deferral_stays", detail=error.detail)

    # ------------------------------------------------------------ progress

    async def progress(self, job: Job, message_ref: str, progress: Progress) -> None:
        channel, message = _parse_ref(message_ref)

        async def show() -> None:
            ticket = await self._context.usecases.jobs.ticket_at(job, progress)
            said = rendering.render_progress(self._context.usecases, ticket, progress)
            with translate_errors():
                await self._edit_by_any_means(job, channel, message, **said)

        self._context.progress_editors.schedule(self._rate_bucket(job, channel, message), message_ref, show)

    # ------------------------------------------------------------ the result

    async def edit(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        job = delivery.job
        assert delivery.message_ref is not None
        channel, message = _parse_ref(delivery.message_ref)
        await self._context.progress_editors.finish(self._rate_bucket(job, channel, message), delivery.message_ref)

        async def put(**said: Any) -> None:
            await self._edit_message(job, channel, message, **said)

        try:
            await self._deliver_result(job, pictures, put)
        except EditLimitReached:
            return await self._send(delivery, pictures, reply_to=message)
        except NoAccess as error:
            raise MessageGone(error.detail) from error
        return delivery.message_ref

    async def send(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        return await self._send(delivery, pictures)

    async def tell_kept(self, delivery: Delivery) -> None:
        job = delivery.job
        assert delivery.message_ref is not None
        await self._edit_message(job, *_parse_ref(delivery.message_ref), **rendering.render_undeliverable(job))

    async def _edit_message(self, job: Job, channel: int, message: int, **said: Any) -> None:
        await self._wait_for_slot(self._rate_bucket(job, channel, message))
        with translate_errors():
            await self._edit_by_any_means(job, channel, message, attachments=said.pop("files"), **said)

    async def _send(self, delivery: Delivery, pictures: Sequence[Media], *, reply_to: int | None = None) -> str:
        """A new message: in the channel, else in private. Raises: Undeliverable."""
        job, refs = delivery.job, []

        async def post(**said: Any) -> None:
            refs.append(await self._post(job, nonce=delivery.nonce, reply_to=reply_to, **said))

        async def private(**said: Any) -> None:
            refs.append(await self._post_privately(job, delivery.nonce, **said))

        if not job.origin.extra.get("missing"):
            try:
                await self._deliver_result(job, pictures, post)
            except (NoAccess, MessageGone) as error:
                log.info("the channel is closed to us", action="channel_closed", detail=error.detail)
        if not refs:
            await self._deliver_result(
                job, [] if job.is_adult else pictures, private
            )  # not every reader of those is an adult
        return str(refs[-1])

    async def _deliver_result(self, job: Job, pictures: Sequence[Media], put: Any) -> None:
        """Put the result; where Discord does not take it, a sentence that says where it is. Raises: PlatformError."""
        try:
            await self._deliver_shrinking(job, pictures, put)
        except ContentRejected as error:
            log.warning("a result was not taken", action="result_not_taken", detail=error.detail)
            await put(**rendering.render_undeliverable(job))

    async def _deliver_shrinking(self, job: Job, pictures: Sequence[Media], put: Any) -> None:
        """With smaller files as long as Discord finds them too large. Raises: PlatformError."""
        limit = int(job.origin.extra.get("limit") or rendering.FILE_LIMIT)
        for part in SHRINK_FACTORS:
            try:
                said = await rendering.render_result(self._context.usecases, job, pictures, limit=int(limit * part))
                await put(**said)
            except FileTooLarge:
                limit = min(limit, rendering.FILE_LIMIT)
                continue
            except TooLarge as error:
                raise ContentRejected("no encoding is small enough") from error
            return
        raise ContentRejected("Discord finds every encoding too large")

    # ------------------------------------------------------------ messages

    async def _post(self, job: Job, *, nonce: str, reply_to: int | None = None, **said: Any) -> str:
        """An ordinary message in the job's channel; returns its ref. Raises: NotHere, PlatformError."""
        client = self._context.connected_client()
        await self._wait_for_slot(job.origin.chat_id)
        channel = int(job.origin.chat_id)
        reply_to = reply_to or (int(job.origin.message_id) if job.origin.message_id else None)
        if reply_to is not None:
            said["reference"] = discord.MessageReference(
                message_id=reply_to, channel_id=channel, fail_if_not_exists=False
            )
        with translate_errors():
            message = await client.get_partial_messageable(channel).send(
                nonce=nonce[:MAX_NONCE], suppress_embeds=True, **said
            )
        return f"{channel}:{message.id}"

    async def _post_privately(self, job: Job, nonce: str, **said: Any) -> str:
        """Raises: Undeliverable: the person takes no private messages; /show has the answer."""
        client = self._context.connected_client()
        await self._wait_for_slot(f"dm:{job.origin.account_id}")
        try:
            with translate_errors():
                user = discord.Object(int(job.origin.account_id))
                channel = await client.create_dm(user)
                message = await channel.send(nonce=nonce[:MAX_NONCE], suppress_embeds=True, **said)
        except (NoAccess, MessageGone) as error:
            raise Undeliverable(error.detail) from error
        return f"{channel.id}:{message.id}"

    async def _edit_by_any_means(self, job: Job, channel: int, message: int, **said: Any) -> None:
        client = self._context.connected_client()
        if self._uses_token(job, channel, message):
            if not self._has_valid_token(job):
                raise NoAccess("the interaction is over")
            await self._webhook(job).edit_message(message, **said)
            return
        await client.get_partial_messageable(channel).get_partial_message(message).edit(**said)

    async def _wait_for_slot(self, bucket: str) -> None:
        self._context.connected_client()
        await self._context.rate_limiter.wait_for_slot(bucket)

    def _rate_bucket(self, job: Job, channel: int, message: int) -> str:
        """Which limit counts: the channel's, or that of the interaction."""
        return f"token:{message}" if self._uses_token(job, channel, message) else str(channel)

    def _uses_token(self, job: Job, channel: int, message: int) -> bool:
        """The message is the answer to an interaction, which only its token can edit."""
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
