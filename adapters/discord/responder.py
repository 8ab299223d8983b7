"""One event being answered: how its person is told something, now or after a restart."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import discord
import structlog

from adapters.discord.context import Desk
from adapters.discord.error_mapping import translated
from adapters.discord.events import TOKEN_S, Event
from adapters.discord.rendering import plain
from bot.chat import texts as chat_texts
from bot.errors import PlatformError

log = structlog.get_logger()


@dataclass
class Turn:
    """`hook` answers an interaction; None: it cannot be answered any more, or was a message.

    `event.response_id` names the answer that says "thinking" and waits for words; without it, words come as a new
    answer that only its person sees.
    """

    desk: Desk
    event: Event
    hook: discord.Webhook | None = None
    delete_pressed: Callable[[], Awaitable[None]] | None = None
    """Takes the message away that a button was pressed on, wherever that is."""

    async def say(
        self, text: str, *, files: Sequence[discord.File] = (), view: discord.ui.View | None = None
    ) -> discord.Message | None:
        """Tell the person. Whether it arrives decides nothing: it is never a result."""
        said: dict[str, Any] = {"content": plain(text)} | ({"view": view} if view is not None else {})
        try:
            with translated():
                return await self._tell(said, files)
        except PlatformError as error:
            log.info("an answer could not be given", action="answer_lost", kind=self.event.kind, detail=error.detail)
            return None

    async def _tell(self, said: dict[str, Any], files: Sequence[discord.File]) -> discord.Message | None:
        if self.event.kind == "message":
            return await self._in_channel(said, files)
        if self.hook is None:
            return None
        if self.event.response_id:
            return await self.hook.edit_message(int(self.event.response_id), attachments=list(files), **said)
        if self.hook.type is discord.WebhookType.application:
            return await self.hook.send(ephemeral=True, wait=True, files=list(files), **said)
        return None  # from an earlier life: it would be seen by all

    async def _in_channel(self, said: dict[str, Any], files: Sequence[discord.File]) -> discord.Message:
        client = self.desk.connected()
        event = self.event
        await self.desk.pace.turn(event.channel_id)
        reference = discord.MessageReference(
            message_id=int(event.message_id), channel_id=int(event.channel_id), fail_if_not_exists=False
        )
        return await client.get_partial_messageable(int(event.channel_id)).send(
            files=list(files), reference=reference, nonce=event.message_id, suppress_embeds=True, **said
        )

    async def close(self) -> None:
        """There is nothing to say: whoever is shown as thinking is so no longer."""
        if self.hook is None or not self.event.response_id:
            return
        try:
            with translated():
                await self.hook.delete_message(int(self.event.response_id))
        except PlatformError as error:
            log.info("the deferral stays", action="deferral_stays", detail=error.detail)


async def taken_up_again(desk: Desk, event: Event) -> Turn:
    """A turn that an earlier life of the server kept and did not finish."""
    if event.kind == "message" or desk.now() - event.at > TOKEN_S:
        return Turn(desk, event)
    hook = discord.Webhook.partial(int(event.application_id), event.token, client=desk.connected())
    if event.kind == "button" and event.can_post:
        return Turn(desk, event, hook)
    try:
        with translated():
            # Words to a deferral take its place; without a deferral there is nowhere to say them.
            late = chat_texts.say_late(desk.now() - event.at, event.locale)
            message = await hook.send(plain(late), wait=True)
    except PlatformError:
        return Turn(desk, event)
    return Turn(desk, replace(event, response_id=str(message.id)), hook)
