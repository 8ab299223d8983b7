"""The commands of plugins in chats: one asks for a job, which is delivered like others, or is answered with a text."""

from collections.abc import Sequence

from bot.jobs import Origin
from bot.ports import Person
from bot.usecases import PluginAnswer, Request, Ticket, UseCases


async def run_plugin_command(
    usecases: UseCases, person: Person, request: Request, *, key: str
) -> tuple[Sequence[Ticket], str]:
    """The jobs, or the text that answers the command. Raises: UserError."""
    try:
        return await usecases.jobs.submit(person, request, key=key), ""
    except PluginAnswer as answer:
        return (), answer.text


async def reply_of_plugin(
    usecases: UseCases, person: Person, origin: Origin, text: str, *, is_private: bool
) -> str | None:
    """What a plugin answers to a message that is no command; None: none does."""
    if not text.strip():
        return None
    return await usecases.plugins.reply(person, origin, text, is_private=is_private)
