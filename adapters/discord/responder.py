"""Answers one event, now or after a restart."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import discord
import structlog

from adapters.discord.context import DiscordContext
from adapters.discord.events import TOKEN_LIFETIME_S, DiscordEvent
from adapters.discord.rendering import to_plain_text
from bot.chat import texts as chat_texts
from bot.ports.platform_answers import PlatformError
from bot.usecases import UseCases

log = structlog.get_logger()
MAX_NONCE = 25


@dataclass
class Responder:
    """`webhook` answers an interaction; None: it can no longer be answered, or the event is a message.

    `event.response_id` is the deferred answer that shows "thinking": a reply replaces it. Without one, a reply is a new
    ephemeral message.
    """

    context: DiscordContext
    event: DiscordEvent
    webhook: discord.Webhook | None = None
    delete_pressed_message: Callable[[], Awaitable[None]] | None = None
    """Deletes the message of the pressed button, wherever it is."""

    @property
    def usecases(self) -> UseCases:
        return self.context.usecases

    @property
    def locale(self) -> str:
        return self.event.locale

    async def reply(
        self, text: str, *, files: Sequence[discord.File] = (), view: discord.ui.View | None = None
    ) -> discord.Message | None:
        """Reply to the person, best effort: results are delivered by the outbox."""
        content: dict[str, Any] = {"content": to_plain_text(text)} | ({"view": view} if view is not None else {})
        try:
            with self.context.translate_errors():
                return await self._send(content, files)
        except PlatformError as error:
            log.info("a reply could not be sent", action="answer_lost", kind=self.event.kind, detail=error.detail)
            return None

    async def _send(self, content: dict[str, Any], files: Sequence[discord.File]) -> discord.Message | None:
        if self.event.kind == "message":
            return await self._send_to_channel(content, files)
        if self.webhook is None:
            return None
        if self.event.response_id:
            return await self.webhook.edit_message(int(self.event.response_id), attachments=list(files), **content)
        if self.webhook.type is discord.WebhookType.application:
            return await self.webhook.send(ephemeral=True, wait=True, files=list(files), **content)
        return None  # after a restart, where everybody would see it

    async def _send_to_channel(self, content: dict[str, Any], files: Sequence[discord.File]) -> discord.Message:
        client = self.context.connected_client()
        event = self.event
        await self.context.rate_limiter.wait_for_slot(event.channel_id)
        reference = discord.MessageReference(
            message_id=int(event.message_id), channel_id=int(event.channel_id), fail_if_not_exists=False
        )
        return await client.get_partial_messageable(int(event.channel_id)).send(
            files=list(files), reference=reference, nonce=event.message_id, suppress_embeds=True, **content
        )

    async def post(self, text: str, *, files: Sequence[discord.File], view: discord.ui.View) -> str | None:
        """Post an ordinary message in reply to the event's target, once; returns its ref. None: it was refused."""
        content: dict[str, Any] = {"content": to_plain_text(text), "files": list(files), "view": view}
        channel = int(self.event.channel_id)
        if self.event.target.startswith(f"{channel}:"):
            message = int(self.event.target.partition(":")[2])
            content["reference"] = discord.MessageReference(
                message_id=message, channel_id=channel, fail_if_not_exists=False
            )
        await self.context.rate_limiter.wait_for_slot(self.event.channel_id)
        try:
            with self.context.translate_errors():
                place = self.context.connected_client().get_partial_messageable(channel)
                sent = await place.send(nonce=self.event.key[-MAX_NONCE:], suppress_embeds=True, **content)
        except PlatformError as error:
            log.info("a picture could not be posted", action="answer_lost", kind=self.event.kind, detail=error.detail)
            return None
        return f"{channel}:{sent.id}"

    async def delete_messages(self, refs: Iterable[str]) -> None:
        """Delete these and the message of the pressed button, by the interaction's token if need be."""
        for ref in {*refs, self.event.target}:
            try:
                await self._delete_message(ref)
            except PlatformError as error:
                log.info("a message could not be deleted", action="message_stays", detail=error.detail)
                if ref == self.event.target:
                    await self.delete_question()

    async def delete_question(self) -> None:
        """Delete the message of the pressed button by the interaction's token: the only way for ephemeral messages."""
        if self.delete_pressed_message is not None:
            with suppress(PlatformError), self.context.translate_errors():
                await self.delete_pressed_message()

    async def _delete_message(self, ref: str) -> None:
        channel, _, message = ref.partition(":")
        client = self.context.connected_client()
        with self.context.translate_errors():
            await client.get_partial_messageable(int(channel)).get_partial_message(int(message)).delete()

    async def delete_deferral(self) -> None:
        """Without a reply: "thinking" is no longer shown."""
        if self.webhook is None or not self.event.response_id:
            return
        try:
            with self.context.translate_errors():
                await self.webhook.delete_message(int(self.event.response_id))
        except PlatformError as error:
            log.info("a deferral could not be deleted", action="deferral_stays", detail=error.detail)


async def resume_responder(context: DiscordContext, event: DiscordEvent) -> Responder:
    """The responder of an event that the last process stored and did not finish."""
    if event.kind == "message" or context.now() - event.at > TOKEN_LIFETIME_S:
        return Responder(context, event)
    webhook = discord.Webhook.partial(int(event.application_id), event.token, client=context.connected_client())
    if event.kind == "button" and event.can_post:
        return Responder(context, event, webhook)
    try:
        with context.translate_errors():
            # This replaces the deferral; without one there is no place to reply.
            delay = chat_texts.format_delay(context.now() - event.at, event.locale)
            message = await webhook.send(to_plain_text(delay), wait=True)
    except PlatformError:
        return Responder(context, event)
    return Responder(context, replace(event, response_id=str(message.id)), webhook)
