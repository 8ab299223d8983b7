"""The buttons and the menu under a grid's message. What they do is in `bot.chat.grid_actions`."""

import discord

from adapters.discord import chat_commands, rendering
from adapters.discord.events import PLATFORM
from adapters.discord.limits import MAX_FILES, MIB, max_file_bytes
from adapters.discord.responder import Responder
from adapters.discord.texts import TOO_LARGE_TO_SEND
from bot.chat import grid_actions, picture_texts
from bot.chat import texts as chat_texts
from bot.chat.buttons import Button
from bot.errors import JobNotFound, NotFound
from bot.ports import Person


async def press_grid_button(responder: Responder, person: Person, button: Button) -> bool:
    """False: the button no longer works, or is forged. Raises: UserError."""
    event = responder.event
    try:
        if not await grid_actions.shows_grid(responder.usecases, person, PLATFORM, button, event.target):
            return False
    except (JobNotFound, NotFound):  # it is deleted
        return False
    match button.action:
        case "cancel":
            await responder.usecases.grid_chat.cancel(person, button.job_id)
            await responder.delete_deferral()
        case "delete":
            refs = await responder.usecases.grid_chat.delete(person, button.job_id, platform=PLATFORM)
            await responder.delete_messages(refs)
            await responder.delete_deferral()
        case "original":
            await _send_sheets(responder, button.job_id)
        case _:
            ctx = await chat_commands.build_context(responder)
            await chat_commands.show_to_everybody(responder, await grid_actions.show_cell_of_button(ctx, button))
    return True


async def _send_sheets(responder: Responder, grid_id: str) -> None:
    """As they were composed, as many as one message takes, and a note about those that are too large."""
    event, ctx = responder.event, await chat_commands.build_context(responder)
    shown, sheets, is_hidden = await grid_actions.read_sheets(ctx, grid_id)
    limit = max_file_bytes(event.size_limit, min(len(sheets), MAX_FILES))
    lines = [picture_texts.format_original(shown, event.locale)]
    if (largest := max(len(one.data) for one in sheets)) > limit:
        lines.append(chat_texts.format_text(TOO_LARGE_TO_SEND, event.locale, size=f"{largest / MIB:.0f}"))
    files: list[discord.File] = [
        rendering.build_file(
            shown, one.image.number - 1, one, alt=picture_texts.alt_of(shown, one.image), spoiler=is_hidden
        )
        for one in sheets[:MAX_FILES]
        if len(one.data) <= limit
    ]
    await responder.reply("\n".join(lines), files=files)
