"""The buttons under a grid's message. What they do is in `bot.chat.grid_actions`."""

from telegram import Message

from adapters.telegram.bot_api import ChatTarget, message_ref
from adapters.telegram.context import PLATFORM, TelegramContext
from bot.chat import grid_actions
from bot.chat.buttons import Button
from bot.chat.picture_texts import format_original
from bot.chat.replies import ChatContext
from bot.errors import JobNotFound, NotFound

MAX_DOCUMENT = 49 * 2**20
MAX_ALBUM = 10


async def answers_grid(ctx: ChatContext, button: Button, message_ref: str) -> bool:
    """Whether the button still works, and is not forged."""
    try:
        return await grid_actions.shows_grid(ctx.usecases, ctx.person, PLATFORM, button, message_ref)
    except (JobNotFound, NotFound):  # it is deleted
        return False


async def send_sheets(context: TelegramContext, ctx: ChatContext, grid_id: str, target: ChatTarget) -> None:
    """As they were composed, as files. Raises: NotFound, ImageGone, Blocked."""
    shown, sheets, _ = await grid_actions.read_sheets(ctx, grid_id)
    fit = context.usecases.media.fit_bytes
    files = {f"easel-{shown.grid}-{one.image.number}": (await fit(one, MAX_DOCUMENT))[0] for one in sheets[:MAX_ALBUM]}
    caption = format_original(shown, ctx.locale)

    async def send() -> list[Message]:
        if len(files) == 1:
            [(name, file)] = files.items()
            return [await context.api.send_document(target, file, name, caption)]
        return await context.api.send_album(target, files, caption)

    for message in await context.responder.send_until_accepted(target.chat, send) or []:
        await ctx.usecases.chat.remember_message(shown, PLATFORM, message_ref(message))
