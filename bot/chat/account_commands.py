"""The commands about a person's own account: /quota, /settings, /privacy."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bot.chat import account_texts, link_texts, texts
from bot.chat.arguments import ChatOption, OptionKind
from bot.chat.replies import ChatContext, ChatFile, ChatReply, Confirmation
from bot.i18n import N_
from bot.jobs import Media
from bot.usecases.people import DEFAULT_OPTIONS

CLEARING = frozenset({"none", "off", "default", "reset", "clear"})
"""Values that clear a default."""
EXPORT, FORGET = "export", "forget"

SETTINGS_OPTIONS = (
    ChatOption(
        name="option",
        help=N_("Which option; without a value its default is cleared"),
        choices=tuple(account_texts.public_option(name) for name in DEFAULT_OPTIONS),
        aliases=account_texts.OPTION_NAMES,
    ),
    ChatOption(name="value", help=N_("Its new default; \u201cnone\u201d clears it"), takes_rest=True),
)
PRIVACY_OPTIONS = (
    ChatOption(
        name="what", help=N_("export: a copy of your data; forget: delete it"), choices=(N_("export"), N_("forget"))
    ),
    ChatOption(name="confirm", help=N_("True: yes, delete everything about me"), kind=OptionKind.FLAG),
    ChatOption(name="all", help=N_("True: also everything of my linked accounts"), kind=OptionKind.FLAG),
)
CONFIRM_FORGET = Confirmation(
    command="privacy",
    options={"what": FORGET, "confirm": True},
    accept="own:forget",
    decline="own:keep",
    accept_label=texts.BUTTONS["delete"],
    decline_label=texts.BUTTONS["cancel"],
)
CONFIRM_FORGET_ALL = replace(
    CONFIRM_FORGET, options={"what": FORGET, "confirm": True, "all": True}, accept="own:forget.all"
)
"""Of a person with linked accounts: a button from before they were linked deletes nothing of them."""


async def show_quota(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    quota = await ctx.usecases.people.get_quota(ctx.person, ctx.usecases.jobs.daily_allowance_s(ctx.person))
    return ChatReply(text=account_texts.format_quota(quota, ctx.locale))


async def change_settings(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    """List the person's defaults, set one, or clear one. Raises: InvalidOption."""
    people, name, value = ctx.usecases.people, options.get("option", ""), str(options.get("value", ""))
    if value and not name:
        return ChatReply(text=texts.format_text(account_texts.SETTING_NEEDS_OPTION, ctx.locale))
    if not name:
        values = await people.get_defaults(ctx.person)
    elif not value or value.casefold() in CLEARING:
        values = await people.clear_default(ctx.person, name)
    else:
        values = await people.set_default(ctx.person, name, value)
    return ChatReply(text=account_texts.format_settings(values, ctx.locale, style=ctx.style))


async def manage_privacy(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    """What is stored about the person, a copy of it, or its deletion, which has to be confirmed."""
    match options.get("what"):
        case "export":
            return await _export_data(ctx)
        case "forget" if options.get("confirm"):
            await ctx.usecases.people.forget_person(ctx.person, with_linked=bool(options.get("all")))
            return ChatReply(text=texts.format_text(account_texts.FORGOTTEN, ctx.locale))
        case "forget":
            return await _ask_before_forgetting(ctx)
    return ChatReply(text=account_texts.format_privacy(ctx.locale, style=ctx.style))


async def _ask_before_forgetting(ctx: ChatContext) -> ChatReply:
    """Names the accounts whose data would be deleted, if there are several."""
    accounts = await ctx.usecases.links.list_accounts(ctx.person)
    if len(accounts) < 2:
        return ChatReply(text=texts.format_text(account_texts.CONFIRM_FORGET, ctx.locale), confirm=CONFIRM_FORGET)
    named = link_texts.format_accounts(accounts, ctx.locale)
    question = texts.format_text(link_texts.CONFIRM_FORGET_ALL, ctx.locale, accounts=named)
    return ChatReply(text=question, confirm=CONFIRM_FORGET_ALL)


async def _export_data(ctx: ChatContext) -> ChatReply:
    """A copy is never sent where others can see it."""
    if not ctx.is_private:
        return ChatReply(text=texts.format_text(texts.IN_PRIVATE, ctx.locale))
    path = await ctx.usecases.people.export_person(ctx.person, max_bytes=ctx.max_file_bytes)
    try:
        archive = Media(await asyncio.to_thread(path.read_bytes), "application/zip")
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
    text = texts.format_text(account_texts.EXPORTED, ctx.locale)
    return ChatReply(text=text, files=(ChatFile("easel-export", archive),), is_private=True)
