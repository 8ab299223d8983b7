"""One event being answered: how its person is told something, now or after a restart."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import discord
import structlog

from adapters.discord.context import DiscordContext
from adapters.discord.error_mapping import translate_errors
from adapters.discord.events import TOKEN_LIFETIME_S, DiscordEvent
from adapters.discord.rendering import to_plain_text
from bot.chat import texts as chat_texts
from bot.errors import PlatformError

log = structlog.get_logger()


@dataclass
class Responder:
    """`hook` answers an interaction; None: it cannot be answered any more, or was a message.

    `event.response_id` names the answer that says "thinking" and waits for words; without it, words come as a new
    answer that only its person sees.
    """

    context: DiscordContext
    event: DiscordEvent
    webhook: discord.Webhook | None = None
    delete_pressed_message: Callable[[], Awaitable[None]] | None = None
    """Takes the message away that a button was pressed on, wherever that is."""

    async def reply(
        self, text: str, *, files: Sequence[discord.File] = (), view: discord.ui.View | None = None
    ) -> discord.Message | None:
        """Tell the person. Whether it arrives decides nothing: it is never a result."""
        said: dict[str, Any] = {"content": to_plain_text(text)} | ({"view": view} if view is not None else {})
        try:
            with translate_errors():
                return await self._send(said, files)
        except PlatformError as error:
            log.info("an answer could not be given", action="answer_lost", kind=self.event.kind, detail=error.detail)
            return None

    async def _send(self, said: dict[str, Any], files: Sequence[discord.File]) -> discord.Message | None:
        if self.event.kind == "message":
            return await self._send_to_channel(said, files)
        if self.webhook is None:
            return None
        if self.event.response_id:
            return await self.webhook.edit_message(int(self.event.response_id), attachments=list(files), **said)
        if self.webhook.type is discord.WebhookType.application:
            return await self.webhook.send(ephemeral=True, wait=True, files=list(files), **said)
        return None  # from an earlier life: it would be seen by all

    async def _send_to_channel(self, said: dict[str, Any], files: Sequence[discord.File]) -> discord.Message:
        client = self.context.connected_client()
        event = self.event
        await self.context.rate_limiter.wait_for_slot(event.channel_id)
        reference = discord.MessageReference(
            message_id=int(event.message_id), channel_id=int(event.channel_id), fail_if_not_exists=False
        )
        return await client.get_partial_messageable(int(event.channel_id)).send(
            files=list(files), reference=reference, nonce=event.message_id, suppress_embeds=True, **said
        )

    async def delete_deferral(self) -> None:
        """There is nothing to say: whoever is shown as thinking is so no longer."""
        if self.webhook is None or not self.event.response_id:
            return
        try:
            with translate_errors():
                await self.webhook.delete_message(int(self.event.response_id))
        except PlatformError as error:
            log.info("the deferral stays", action="deferral_stays", detail=error.detail)


async def resume_responder(context: DiscordContext, event: DiscordEvent) -> Responder:
    """A turn that an earlier life of the server kept and did not finish."""
    if event.kind == "message" or context.now() - event.at > TOKEN_LIFETIME_S:
        return Responder(context, event)
    hook = discord.Webhook.partial(int(event.application_id), event.token, client=context.connected_client())
    if event.kind == "button" and event.can_post:
        return Responder(context, event, hook)
    try:
        with translate_errors():
            # Words to a deferral take its place; without a deferral there is nowhere to say them.
            late = chat_texts.say_late(context.now() - event.at, event.locale)
            message = await hook.send(to_plain_text(late), wait=True)
    except PlatformError:
        return Responder(context, event)
    return Responder(context, replace(event, response_id=str(message.id)), hook)
