"""The way in: what happened is kept, then acknowledged, then acted upon; each event once, over restarts, too."""

import asyncio
import secrets
from contextlib import suppress
from dataclasses import replace
from typing import Any

import discord
import structlog

from adapters.discord import actions, event_parsing, texts
from adapters.discord.context import Desk, PictureLost
from adapters.discord.error_mapping import translated
from adapters.discord.events import PLATFORM, Event, read_event
from adapters.discord.modals import Words, of_target
from adapters.discord.responder import Turn, taken_up_again
from bot.chat import texts as chat_texts
from bot.chat.buttons import parse_button
from bot.error_texts import explain
from bot.errors import EaselError, PlatformError, StorageBusy, StorageFull, UserError
from bot.jobs import Job

log = structlog.get_logger()

KEEP_S = 2.0
"""Of the 3 seconds that Discord waits for an answer."""
ANSWER_S = 5.0
RECORD_S = 1.0


class Intake:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._inbox = desk.surroundings.inbox
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: set[str] = set()
        """Keys of events that this life works on."""

    # ------------------------------------------------------------ what people do

    async def called(self, interaction: discord.Interaction[Any], name: str, values: dict[str, Any]) -> None:
        """A slash command."""
        options = {
            key: one for key, one in values.items() if one is not None and not isinstance(one, discord.Attachment)
        }
        files = [one for one in values.values() if isinstance(one, discord.Attachment)]
        pictures = tuple(event_parsing.attached(files, str(interaction.user.id)))
        await self._take(
            event_parsing.of_interaction(interaction, "command", name=name, options=options, pictures=pictures),
            interaction,
        )

    async def chosen(self, interaction: discord.Interaction[Any], name: str, message: discord.Message) -> None:
        """A message menu. Asking and varying need words first."""
        target = f"{interaction.channel_id}:{message.id}"
        job = await self._job_of(target)
        pictures = event_parsing.pictures_of(message)
        locale = str(interaction.locale)
        if job is None and not pictures:
            await self._answer(interaction, chat_texts.say_text(chat_texts.NO_PICTURE, locale))
            return
        is_known = job is not None
        if name == texts.ASK_ABOUT or (name == texts.VARY_THIS and not is_known):
            self._desk.remember(target, pictures)
            action = "ask" if name == texts.ASK_ABOUT else "vary"
            custom_id = f"v1:ask:{job.id}" if job is not None else of_target(action, target)
            await self._open(interaction, Words(custom_id, action, locale))
            return
        event = event_parsing.of_interaction(interaction, "menu", name=name, target=target, pictures=pictures)
        await self._take(event, interaction)

    async def pressed(self, interaction: discord.Interaction[Any], custom_id: str) -> None:
        """A button."""
        button = parse_button(custom_id)
        message = interaction.message
        target = f"{message.channel.id}:{message.id}" if message is not None else ""
        text, replied = "", message.reference.resolved if message is not None and message.reference else None
        if button is not None and button.action in ("ask", "edit"):
            if isinstance(replied, discord.Message) and await self._job_of(target) is None:
                text = self._words_of(replied)
            if not text:
                await self._open(interaction, Words(custom_id, button.action, str(interaction.locale)))
                return
        spoiler = message is not None and any(one.is_spoiler() for one in message.attachments)
        event = event_parsing.of_interaction(
            interaction, "button", name=custom_id, target=target, text=text, spoiler=spoiler
        )
        await self._take(event, interaction)

    def _words_of(self, message: discord.Message) -> str:
        client = self._desk.client
        return event_parsing.text_without_mention(message.content, client.user.id) if client and client.user else ""

    async def submitted(self, interaction: discord.Interaction[Any], custom_id: str) -> None:
        """A modal's words."""
        text = event_parsing.text_of_modal(interaction)
        await self._take(event_parsing.of_interaction(interaction, "modal", name=custom_id, text=text), interaction)

    async def said(self, message: discord.Message) -> None:
        """A message that is for the bot."""
        client = self._desk.client
        if client is not None and client.user is not None:
            await self._take(event_parsing.of_message(message, client.user), None)

    async def stumbled(self, interaction: discord.Interaction[Any], name: str, error: Exception) -> None:
        """Discord knows a command, or an option of one, that we do not know (any more)."""
        log.warning("a command was not understood", action="command_unknown", command=name[:40], error=str(error)[:200])
        if not interaction.response.is_done():
            await self._answer(interaction, chat_texts.say_text(texts.UNKNOWN_COMMAND, str(interaction.locale)))

    # ------------------------------------------------------------ kept, acknowledged, acted upon

    async def _take(self, event: Event, interaction: discord.Interaction[Any] | None) -> None:
        event = replace(event, is_admin=self._desk.is_admin(event.account_id))
        try:
            async with asyncio.timeout(KEEP_S):
                is_new = await self._inbox.keep(PLATFORM, event.key, event.to_json())
        except (UserError, TimeoutError) as error:
            refusal = StorageBusy() if isinstance(error, TimeoutError) else error
            log.warning("an event could not be kept", action="event_not_kept", error=type(error).__name__)
            if interaction is not None:
                await self._answer(interaction, explain(refusal, locale=event.locale))
            return
        if not is_new:
            log.info("an event came again", action="event_replayed", key=event.key)
            return
        self._known.add(event.key)
        turn = Turn(self._desk, event) if interaction is None else await self._acknowledge(event, interaction)
        self._start(turn)

    async def _acknowledge(self, event: Event, interaction: discord.Interaction[Any]) -> Turn:
        """Within the 3 seconds. An event that Discord gave up on meanwhile is acted upon all the same."""
        is_hidden = event.can_post or not actions.asks_for_a_job(event)
        stays = event.kind == "button" and is_hidden
        try:
            with translated():
                async with asyncio.timeout(ANSWER_S):
                    if stays:
                        await interaction.response.defer()
                        return Turn(self._desk, event, interaction.followup, interaction.delete_original_response)
                    answer = await interaction.response.defer(ephemeral=is_hidden, thinking=True)
        except (PlatformError, discord.InteractionResponded) as error:
            log.warning("an interaction was not acknowledged", action="not_acknowledged", error=str(error))
            return Turn(self._desk, event)
        known = answer.message_id if answer is not None else None
        response = str(known or await self._look_up(interaction) or "")
        return Turn(self._desk, replace(event, response_id=response), interaction.followup)

    async def _look_up(self, interaction: discord.Interaction[Any]) -> int | None:
        """The answer's id, where Discord did not tell it at once."""
        with suppress(PlatformError), translated():
            return (await interaction.original_response()).id
        return None

    def _start(self, turn: Turn) -> None:
        task = asyncio.create_task(self._act(turn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _act(self, turn: Turn) -> None:
        """A stop in the middle leaves the event waiting; anything else is its end."""
        event = turn.event
        try:
            await actions.act(turn)
        except UserError as error:
            await turn.say(explain(error, locale=event.locale))
        except PictureLost as error:
            log.info("a picture was lost", action="picture_lost", detail=str(error))
            await turn.say(chat_texts.say_text(texts.LOST_PICTURE, event.locale))
        except Exception as error:  # the edge of a loop that must go on
            incident = secrets.token_hex(4)
            log.error("an event failed", action="event_failed", incident=incident, kind=event.kind, exc_info=error)
            await turn.say(explain(error, locale=event.locale, incident=incident))
        await self._done(event)

    async def _done(self, event: Event) -> None:
        while True:
            try:
                await self._inbox.done(PLATFORM, event.key)
                break
            except (StorageBusy, StorageFull):
                await asyncio.sleep(RECORD_S)
        self._known.discard(event.key)

    # ------------------------------------------------------------ after a restart

    async def take_up_again(self) -> None:
        """What an earlier life kept and did not finish."""
        for key, kept in await self._inbox.waiting(PLATFORM):
            if key in self._known:
                continue
            self._known.add(key)
            event = read_event(kept)
            log.info("taking up an event again", action="event_taken_up", key=key, kind=event.kind)
            try:
                self._start(await taken_up_again(self._desk, event))
            except EaselError as error:
                self._known.discard(key)
                log.warning("an event has to wait", action="event_waits", key=key, error=str(error))

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._desk.editors.stop()

    # ------------------------------------------------------------ answers that need no keeping

    async def _job_of(self, target: str) -> Job | None:
        try:
            async with asyncio.timeout(KEEP_S):
                return await self._desk.usecases.chat.of_message(PLATFORM, target)
        except (EaselError, TimeoutError):
            return None

    async def _open(self, interaction: discord.Interaction[Any], modal: discord.ui.Modal) -> None:
        with suppress(PlatformError), translated():
            await interaction.response.send_modal(modal)

    async def _answer(self, interaction: discord.Interaction[Any], text: str) -> None:
        with suppress(PlatformError), translated():
            await interaction.response.send_message(text, ephemeral=True)
