"""Stores each event, acknowledges it, then handles it: exactly once, even across restarts."""

import asyncio
import secrets
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import discord
import structlog

from adapters.discord import actions, event_parsing, texts
from adapters.discord.attachments import AttachmentUnavailable
from adapters.discord.context import DiscordContext
from adapters.discord.error_mapping import translate_errors
from adapters.discord.events import PLATFORM, DiscordEvent, event_from_json
from adapters.discord.modals import TextModal, encode_target
from adapters.discord.responder import Responder, resume_responder
from bot.chat import texts as chat_texts
from bot.chat.buttons import Button, parse_button
from bot.chat.follow_ups import PROMPTED_ACTIONS, WORDED_ACTIONS
from bot.chat.grid_actions import refuse_grid
from bot.chat.reporting import NOTHING_TO_REPORT
from bot.error_texts import explain
from bot.errors import EaselError, ImageGone, JobNotFound, QueueFull, StorageBusy, StorageFull, UserError
from bot.jobs import Job
from bot.ports.platform_answers import PlatformError

log = structlog.get_logger()

SAVE_TIMEOUT_S = 2.0
"""Discord waits 3 seconds for an acknowledgement."""
READ_TIMEOUT_S = 0.4
"""For each of at most two look-ups before an event is stored or a form is opened."""
ACKNOWLEDGE_TIMEOUT_S = 5.0
RETRY_S = 1.0
BUSY_RETRY_S = 5
MAX_UNACKNOWLEDGED = 20
"""With more at the same time, acknowledging comes before handling: Discord waits for one and not for the other."""
MAX_HANDLING_DELAY_S = 3.0


class EventHandler:
    def __init__(self, context: DiscordContext) -> None:
        self._context = context
        self._inbox = context.adapter_context.inbox
        self._tasks: set[asyncio.Task[None]] = set()
        self._active_keys: set[str] = set()
        """Keys of events that this process is handling."""
        self._unacknowledged = 0
        self._is_calm = asyncio.Event()
        self._is_calm.set()

    # ------------------------------------------------------------ callbacks

    async def on_slash_command(self, interaction: discord.Interaction[Any], name: str, values: dict[str, Any]) -> None:
        options = {
            key: one for key, one in values.items() if one is not None and not isinstance(one, discord.Attachment)
        }
        pictures = event_parsing.option_files(values, str(interaction.user.id))
        await self._accept_event(
            event_parsing.event_from_interaction(interaction, "command", name=name, options=options, pictures=pictures),
            interaction,
        )

    async def on_context_menu(self, interaction: discord.Interaction[Any], name: str, message: discord.Message) -> None:
        """Asking and varying open a form for the text first."""
        target = f"{interaction.channel_id}:{message.id}"
        pictures, locale = event_parsing.attached_images(message, any_file=True), str(interaction.locale)
        try:
            job = await self._find_job(target)
            if name != texts.CAPTION_THIS:  # that is refused with its answer
                await self._refuse_grid(target, job)
        except (UserError, TimeoutError) as error:
            await self._refuse(interaction, error, locale)
            return
        if name == texts.REPORT_THIS:
            await self._open_report(interaction, target, locale, is_known=job is not None)
            return
        if job is None and not pictures:
            await self._reply_privately(interaction, chat_texts.format_text(chat_texts.NO_PICTURE, locale))
            return
        is_known = job is not None
        if name == texts.ASK_ABOUT or (name == texts.VARY_THIS and not is_known):
            self._context.remember_attachments(target, pictures)
            action = "ask" if name == texts.ASK_ABOUT else "vary"
            custom_id = encode_target(action, target)
            if job is not None:
                custom_id = Button("ask", job.id, await self._find_picture(target)).encode()
            await self._send_modal(interaction, TextModal(custom_id, action, locale))
            return
        event = event_parsing.event_from_interaction(interaction, "menu", name=name, target=target, pictures=pictures)
        await self._accept_event(event, interaction)

    async def _open_report(
        self, interaction: discord.Interaction[Any], target: str, locale: str, *, is_known: bool
    ) -> None:
        if is_known:
            await self._send_modal(interaction, TextModal(encode_target("report", target), "report", locale))
        else:
            await self._reply_privately(interaction, chat_texts.format_text(NOTHING_TO_REPORT, locale))

    async def on_button(self, interaction: discord.Interaction[Any], custom_id: str) -> None:
        """Asking and editing open a form, unless the button is under an offer that answers a text."""
        button = parse_button(custom_id)
        message = interaction.message
        target = f"{message.channel.id}:{message.id}" if message is not None else ""
        text, replied = "", message.reference.resolved if message is not None and message.reference else None
        if button is not None and button.is_offer:
            await self._accept_event(self._event_of_offer(interaction, custom_id, target, replied), interaction)
            return
        if button is not None and button.action in WORDED_ACTIONS:
            try:
                shown = await self._find_job(target) if target else None
            except (UserError, TimeoutError) as error:
                await self._refuse(interaction, error, str(interaction.locale))
                return
            if shown is None and isinstance(replied, discord.Message) and not self._is_own(replied):
                text = self._text_of(replied)
            if not text:
                is_forged = shown is not None and shown.id != button.job_id
                await self._open_form(interaction, button, custom_id, is_forged=is_forged)
                return
        spoiler = message is not None and any(one.is_spoiler() for one in message.attachments)
        event = event_parsing.event_from_interaction(
            interaction, "button", name=custom_id, target=target, text=text, spoiler=spoiler
        )
        await self._accept_event(event, interaction)

    def _event_of_offer(
        self, interaction: discord.Interaction[Any], custom_id: str, target: str, replied: object
    ) -> DiscordEvent:
        """With the text and the pictures of the message that the offer replies to."""
        more: dict[str, Any] = {}
        if isinstance(replied, discord.Message):
            answered = replied.reference
            of = f"{answered.channel_id}:{answered.message_id}" if answered is not None else ""
            pictures = event_parsing.attached_images(replied)
            more = {"text": self._text_of(replied), "pictures": pictures, "options": {"answered": of}}
        return event_parsing.event_from_interaction(interaction, "button", name=custom_id, target=target, **more)

    async def _open_form(
        self, interaction: discord.Interaction[Any], button: Button, custom_id: str, *, is_forged: bool
    ) -> None:
        """With the last prompt, if that is what it is about; not about a picture that is deleted."""
        locale = str(interaction.locale)
        try:
            prompt = None if is_forged else await self._find_words(button)
        except ImageGone as error:
            await self._reply_privately(interaction, explain(error, locale=locale))
            return
        if prompt is None:
            await self._reply_privately(interaction, chat_texts.format_text(chat_texts.BUTTON_EXPIRED, locale))
            return
        await self._send_modal(interaction, TextModal(custom_id, button.action, locale, prompt))

    def _is_own(self, message: discord.Message) -> bool:
        client = self._context.client
        return client is not None and client.user is not None and message.author.id == client.user.id

    def _text_of(self, message: discord.Message) -> str:
        client = self._context.client
        if client is None or client.user is None:
            return ""
        return event_parsing.text_for_bot(message, client.user.id)

    async def on_modal_submit(self, interaction: discord.Interaction[Any], custom_id: str) -> None:
        text = event_parsing.modal_text(interaction)
        await self._accept_event(
            event_parsing.event_from_interaction(interaction, "modal", name=custom_id, text=text), interaction
        )

    async def on_message(self, message: discord.Message) -> None:
        """A message to the bot."""
        client = self._context.client
        if client is not None and client.user is not None:
            await self._accept_event(event_parsing.event_from_message(message, client.user), None)

    async def on_unknown_command(self, interaction: discord.Interaction[Any], name: str, error: Exception) -> None:
        """Discord still lists a command or an option that no longer exists."""
        log.warning("unknown command or option", action="command_unknown", command=name[:40], error=str(error)[:200])
        if not interaction.response.is_done():
            await self._reply_privately(
                interaction, chat_texts.format_text(texts.UNKNOWN_COMMAND, str(interaction.locale))
            )

    async def on_unreadable_command(self, interaction: discord.Interaction[Any], error: Exception) -> None:
        """A command whose options the library cannot read: dropped alone, and the person is told."""
        incident = secrets.token_hex(4)
        log.warning("a command could not be read", action="event_dropped", incident=incident, error=repr(error)[:200])
        if interaction.type is discord.InteractionType.application_command and not interaction.response.is_done():
            sentence = explain(error, locale=str(interaction.locale), incident=incident)
            await self._reply_privately(interaction, sentence)

    # ------------------------------------------------------------ store, acknowledge, handle

    async def _accept_event(self, event: DiscordEvent, interaction: discord.Interaction[Any] | None) -> None:
        with self._counted_as_unacknowledged():
            await self._save_and_acknowledge(event, interaction)

    @contextmanager
    def _counted_as_unacknowledged(self) -> Iterator[None]:
        """While many wait for their acknowledgement, accepted events are not handled."""
        self._unacknowledged += 1
        if self._unacknowledged > MAX_UNACKNOWLEDGED:
            self._is_calm.clear()
        try:
            yield
        finally:
            self._unacknowledged -= 1
            if self._unacknowledged <= MAX_UNACKNOWLEDGED:
                self._is_calm.set()

    async def _save_and_acknowledge(self, event: DiscordEvent, interaction: discord.Interaction[Any] | None) -> None:
        event = replace(event, is_admin=self._context.is_admin(event.account_id))
        saving = asyncio.ensure_future(self._inbox.save_event(PLATFORM, event.key, event.to_json()))
        try:
            async with asyncio.timeout(SAVE_TIMEOUT_S):
                is_new = await asyncio.shield(saving)
        except (UserError, TimeoutError) as error:
            self._start(self._drop_event(saving, event))
            await self._refuse(interaction, error, event.locale)
            return
        if not is_new:
            log.info("an event was received again", action="event_replayed", key=event.key)
            return
        self._active_keys.add(event.key)
        responder = (
            Responder(self._context, event) if interaction is None else await self._acknowledge(event, interaction)
        )
        self._start_task(responder)

    async def _refuse(
        self, interaction: discord.Interaction[Any] | None, error: UserError | TimeoutError, locale: str
    ) -> None:
        log.warning("an event could not be stored", action="event_not_kept", error=type(error).__name__)
        overload = QueueFull(limit=0, retry_after_s=BUSY_RETRY_S, is_global=True)
        refusal = error if isinstance(error, UserError) else overload
        if interaction is not None:
            await self._reply_privately(interaction, explain(refusal, locale=locale))

    async def _acknowledge(self, event: DiscordEvent, interaction: discord.Interaction[Any]) -> Responder:
        """Within 3 seconds of the event; one that Discord has given up on is handled nevertheless."""
        is_ephemeral = event.can_post or not actions.creates_job(event, self._context.usecases.plugins)
        try:
            with translate_errors():
                async with asyncio.timeout(ACKNOWLEDGE_TIMEOUT_S):
                    if event.kind == "button" and is_ephemeral:
                        await interaction.response.defer()
                        return Responder(
                            self._context, event, interaction.followup, interaction.delete_original_response
                        )
                    response = await interaction.response.defer(ephemeral=is_ephemeral, thinking=True)
        except (PlatformError, discord.InteractionResponded) as error:
            log.warning("an interaction was not acknowledged", action="not_acknowledged", error=str(error))
            return Responder(self._context, event)
        known_id = response.message_id if response is not None else None
        response_id = str(known_id or await self._fetch_response_id(interaction) or "")
        return Responder(self._context, replace(event, response_id=response_id), interaction.followup)

    async def _fetch_response_id(self, interaction: discord.Interaction[Any]) -> int | None:
        """The id of the deferred answer, where the acknowledgement did not return it."""
        with suppress(PlatformError), translate_errors():
            return (await interaction.original_response()).id
        return None

    async def _drop_event(self, saving: asyncio.Future[bool], event: DiscordEvent) -> None:
        """An event that was refused because it took long to store is not resumed at the next start."""
        with suppress(EaselError):
            if await saving:
                await self._mark_done(event.key)

    def _start_task(self, responder: Responder) -> None:
        self._start(self._process(responder))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _process(self, responder: Responder) -> None:
        """If the server stops meanwhile, the event stays in the inbox; otherwise it is done."""
        event = responder.event
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_HANDLING_DELAY_S):
                await self._is_calm.wait()
        try:
            await actions.handle_event(responder)
        except UserError as error:
            await responder.reply(explain(error, locale=event.locale))
        except AttachmentUnavailable as error:
            log.info("an attachment could not be fetched", action="picture_lost", detail=str(error))
            await responder.reply(chat_texts.format_text(texts.IMAGE_UNAVAILABLE, event.locale))
        except Exception as error:  # the boundary of a loop that must continue
            incident = secrets.token_hex(4)
            log.error("an event failed", action="event_failed", incident=incident, kind=event.kind, exc_info=error)
            await responder.reply(explain(error, locale=event.locale, incident=incident))
        await self._mark_done(event.key)

    async def _mark_done(self, key: str) -> None:
        while True:
            try:
                await self._inbox.mark_done(PLATFORM, key)
                break
            except (StorageBusy, StorageFull):
                await asyncio.sleep(RETRY_S)
        self._active_keys.discard(key)

    # ------------------------------------------------------------ after a restart

    async def resume(self) -> None:
        """Handle the events that the last process stored and did not finish."""
        for key, body in await self._inbox.pending_events(PLATFORM):
            if key in self._active_keys:
                continue
            self._active_keys.add(key)
            try:
                event = event_from_json(body)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                log.warning(
                    "a stored event could not be read", action="event_dropped", key=key, error=repr(error)[:200]
                )
                await self._mark_done(key)
                continue
            log.info("resuming an event", action="event_taken_up", key=key, kind=event.kind)
            try:
                self._start_task(await resume_responder(self._context, event))
            except EaselError as error:
                self._active_keys.discard(key)
                log.warning("an event has to wait", action="event_waits", key=key, error=str(error))

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._context.progress_editors.stop()

    # ------------------------------------------------------------ responses without an event

    async def _find_job(self, target: str) -> Job | None:
        """Raises: StorageBusy, TimeoutError."""
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await self._context.usecases.chat.job_of_message(PLATFORM, target)

    async def _refuse_grid(self, target: str, job: Job | None) -> None:
        """Raises: InvalidOption, StorageBusy, TimeoutError."""
        async with asyncio.timeout(READ_TIMEOUT_S):
            await refuse_grid(self._context.usecases, PLATFORM, target, job)

    async def _find_picture(self, target: str) -> int:
        with suppress(EaselError, TimeoutError):
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await self._context.usecases.chat.picture_of_message(PLATFORM, target)
        return 0

    async def _find_words(self, button: Button) -> str | None:
        """What a form begins with; None: there is no such job, or not any more. Raises: ImageGone."""
        chat = self._context.usecases.chat
        with suppress(JobNotFound, StorageBusy, TimeoutError):
            async with asyncio.timeout(READ_TIMEOUT_S):
                if button.action != "remix":
                    await chat.require_image(button.job_id, button.number)
                return await chat.prompt_of(button.job_id) if button.action in PROMPTED_ACTIONS else ""
        return None

    async def _send_modal(self, interaction: discord.Interaction[Any], modal: discord.ui.Modal) -> None:
        with suppress(PlatformError), translate_errors():
            await interaction.response.send_modal(modal)

    async def _reply_privately(self, interaction: discord.Interaction[Any], text: str) -> None:
        with suppress(PlatformError), translate_errors():
            await interaction.response.send_message(text, ephemeral=True)
