"""The chat commands that ask for no job. `CHAT_COMMANDS` registers.

Platforms parse and render: they build their menus and parsers from the declared options, and show the `ChatReply` that
a command returns. The commands that ask for jobs are in `bot.commands`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bot.chat import account_commands, admin, help_texts, job_commands, link_commands
from bot.chat.arguments import check_arguments
from bot.chat.buttons import EXAMPLES_ID, Button
from bot.chat.replies import ChatCommand, ChatContext, ChatReply, Confirmation
from bot.commands import COMMANDS
from bot.errors import UnknownCommand
from bot.i18n import N_, translator
from bot.models import TEXT_TO_IMAGE
from bot.options import clean_excerpt, find_nearest
from bot.plugins.plugin_commands import OwnCommand


async def _show_models(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    return ChatReply(text=help_texts.format_models(ctx.usecases.models, ctx.locale))


async def _show_help(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    menu = command_menu(ctx.locale, ctx.usecases.plugins.commands)
    return ChatReply(text=help_texts.format_help(menu, ctx.locale, style=ctx.style))


async def _welcome(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    """Two examples, and a button that runs the first."""
    can_draw = ctx.usecases.models.default_for(TEXT_TO_IMAGE) is not None
    buttons = (Button("pick", EXAMPLES_ID, 1),) if can_draw else ()
    return ChatReply(text=help_texts.format_welcome(ctx.locale, style=ctx.style), buttons=buttons)


CHAT_COMMANDS: dict[str, ChatCommand] = {
    command.name: command
    for command in (
        ChatCommand(name="queue", help=N_("Your jobs in the queue"), run=job_commands.list_queue),
        ChatCommand(
            name="cancel",
            help=N_("Cancel one of your jobs"),
            run=job_commands.cancel_job,
            options=job_commands.CANCEL_OPTIONS,
        ),
        ChatCommand(
            name="history",
            help=N_("Your latest jobs, or a search in all of them"),
            run=job_commands.list_history,
            options=job_commands.HISTORY_OPTIONS,
        ),
        ChatCommand(
            name="show",
            help=N_("See one of your jobs again"),
            run=job_commands.show_job,
            options=job_commands.SHOW_OPTIONS,
        ),
        ChatCommand(name="quota", help=N_("What you have used today"), run=account_commands.show_quota),
        ChatCommand(
            name="settings",
            help=N_("Your own defaults"),
            run=account_commands.change_settings,
            options=account_commands.SETTINGS_OPTIONS,
        ),
        ChatCommand(name="models", help=N_("The installed models"), run=_show_models),
        ChatCommand(
            name="link",
            help=N_("Make your accounts here and elsewhere one"),
            run=link_commands.manage_links,
            options=link_commands.LINK_OPTIONS,
        ),
        ChatCommand(
            name="privacy",
            help=N_("Your data: get a copy, or delete it"),
            run=account_commands.manage_privacy,
            options=account_commands.PRIVACY_OPTIONS,
        ),
        ChatCommand(
            name="admin",
            help=N_("For admins: models, and what may be shown here"),
            run=admin.run_admin_command,
            options=admin.OPTIONS,
        ),
        ChatCommand(name="help", help=N_("This list"), run=_show_help),
        ChatCommand(name="start", help=N_("Two examples to begin with"), run=_welcome, is_listed=False),
    )
}
"""In the order in which /help lists them."""


CONFIRMATIONS = (
    account_commands.CONFIRM_FORGET,
    account_commands.CONFIRM_FORGET_ALL,
    link_commands.CONFIRM_UNLINK,
)


def find_chat_command(name: str) -> ChatCommand:
    """Raises: UnknownCommand: with the most similar of all commands."""
    if name in CHAT_COMMANDS:
        return CHAT_COMMANDS[name]
    known = [*COMMANDS, *(command.name for command in CHAT_COMMANDS.values() if command.is_listed)]
    near = find_nearest(name, known)
    raise UnknownCommand(clean_excerpt(name, 40), known, near[0] if near else "")


async def run_chat_command(ctx: ChatContext, name: str, values: Mapping[str, Any]) -> ChatReply:
    """Run a command with the options that were given. Raises: UserError."""
    command = find_chat_command(name)
    return await command.run(ctx, check_arguments(command.options, values))


def is_confirmation(data: str) -> bool:
    """Whether a button answers the question of a `Confirmation`."""
    return any(data == one.decline for one in CONFIRMATIONS) or _find_accepted(data) is not None


def _find_accepted(data: str) -> Confirmation | None:
    known = (one for one in CONFIRMATIONS if data == one.accept)
    return next(known, None) or link_commands.find_confirmation(data)


async def answer_confirmation(ctx: ChatContext, data: str) -> ChatReply | None:
    """The reply to the press of such a button; None: declined, so nothing is done. Raises: UserError."""
    accepted = _find_accepted(data)
    return await run_chat_command(ctx, accepted.command, accepted.options) if accepted is not None else None


COMMAND_ACTIONS = frozenset({"show", "history"})
"""Actions of buttons that are answered as the chat command of the same name is."""


async def run_command_button(ctx: ChatContext, button: Button) -> ChatReply:
    """The reply to the press of a button whose action is in `COMMAND_ACTIONS`.

    One picture of several is for everybody who sees the message of the job; the adapter has checked that it is one.
    Raises: UserError: JobNotFound; NotYours: somebody else asked for the job; ImageGone; Blocked.
    """
    if button.action == "history":
        return await job_commands.turn_history_page(ctx, button)
    job = await ctx.usecases.chat.get_job(button.job_id)
    if button.shows_picture:
        return await job_commands.show_picture(ctx, job, button.number)
    return await run_chat_command(replace(ctx, replied_job=job), button.action, {})


def command_menu(locale: str = "en", of_plugins: Sequence[OwnCommand] = ()) -> list[tuple[str, str]]:
    """Every listed command with its help, those that ask for jobs first: for /help and a platform's menu."""
    translate = translator(locale)
    menu = [(name, translate(command.summary)) for name, command in COMMANDS.items()]
    menu += [(command.name, command.summary) for command in of_plugins]
    return menu + [(name, translate(command.help)) for name, command in CHAT_COMMANDS.items() if command.is_listed]
