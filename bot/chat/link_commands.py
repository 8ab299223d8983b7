"""/link: creates a one-time code, links accounts with one, and unlinks the current account."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bot.chat import link_texts, texts
from bot.chat.arguments import ChatOption, OptionKind
from bot.chat.replies import ChatContext, ChatReply, Confirmation
from bot.i18n import N_
from bot.problem_texts.link_problems import LinkRefused
from bot.usecases.account_links import parse_code

LINK_OPTIONS = (
    ChatOption(
        name="code", help=N_("Code from your other account, or \u201cremove\u201d to unlink this one"), takes_rest=True
    ),
    ChatOption(name="confirm", help=N_("True: link these accounts"), kind=OptionKind.FLAG),
)
CONFIRM_UNLINK = Confirmation(
    command="link",
    options={"code": link_texts.REMOVE, "confirm": True},
    accept="own:unlink",
    decline="own:keep",
    accept_label=link_texts.UNLINK,
    decline_label=texts.BUTTONS["cancel"],
)
_YES = re.compile(r"(.*\S)\s+(?:yes|confirm)", re.DOTALL | re.IGNORECASE)
_ACCEPT = re.compile(r"own:link:([0-9A-Z]{8})")


async def manage_links(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    """Raises: LinkRefused, TooManyCodes."""
    text, is_confirmed = str(options.get("code", "")), bool(options.get("confirm"))
    if not ctx.is_private:
        return await _refuse_in_public(ctx, text)
    if match := _YES.fullmatch(text):
        text, is_confirmed = match.group(1), True
    if not text:
        return await _give_code(ctx)
    if text.casefold() == link_texts.REMOVE:
        return await _unlink(ctx, is_confirmed=is_confirmed)
    return await _link(ctx, text, is_confirmed=is_confirmed)


async def _refuse_in_public(ctx: ChatContext, text: str) -> ChatReply:
    """Others could use a code that they have seen, so it is revoked."""
    code = _YES.fullmatch(text)
    if text and text.casefold() != link_texts.REMOVE:
        await ctx.usecases.links.revoke_code(code.group(1) if code else text)
        return ChatReply(text=texts.format_text(link_texts.CODE_SEEN, ctx.locale))
    return ChatReply(text=texts.format_text(link_texts.IN_PRIVATE, ctx.locale))


async def _give_code(ctx: ChatContext) -> ChatReply:
    links = ctx.usecases.links
    code = await links.create_code(ctx.person)
    accounts = await links.list_accounts(ctx.person)
    return ChatReply(text=link_texts.format_code(code.text, accounts, ctx.locale, style=ctx.style), is_private=True)


async def _link(ctx: ChatContext, text: str, *, is_confirmed: bool) -> ChatReply:
    links, account = ctx.usecases.links, f"{ctx.origin.platform}:{ctx.origin.account_id}"
    if is_confirmed:
        linked = await links.link(ctx.person, account, text)
        return ChatReply(text=link_texts.format_linked(linked, ctx.locale), is_private=True)
    preview = await links.preview(ctx.person, account, text)
    question = link_texts.format_preview(preview, ctx.locale, style=ctx.style, code=text)
    return ChatReply(text=question, is_private=True, confirm=confirm_link(text))


async def _unlink(ctx: ChatContext, *, is_confirmed: bool) -> ChatReply:
    links, origin = ctx.usecases.links, ctx.origin
    if is_confirmed:
        await links.unlink(ctx.person, origin.platform, origin.account_id)
        return ChatReply(text=texts.format_text(link_texts.UNLINKED, ctx.locale), is_private=True)
    own = (origin.platform, origin.account_id)
    others = [one for one in await links.list_accounts(ctx.person) if (one.platform, one.account_id) != own]
    if not others:
        raise LinkRefused("only_account")
    accounts = link_texts.format_accounts(others, ctx.locale)
    question = texts.format_text(link_texts.CONFIRM_UNLINK, ctx.locale, accounts=accounts)
    return ChatReply(text=question, is_private=True, confirm=CONFIRM_UNLINK)


def confirm_link(text: str) -> Confirmation:
    """Asks whether to link with this code, which the button carries. Raises: LinkRefused."""
    code = parse_code(text)
    return replace(
        CONFIRM_UNLINK,
        options={"code": code, "confirm": True},
        accept=f"own:link:{code}",
        accept_label=link_texts.LINK,
    )


def find_confirmation(data: str) -> Confirmation | None:
    """The confirmation that a button with a code accepts."""
    match = _ACCEPT.fullmatch(data)
    return confirm_link(match.group(1)) if match and _is_valid(match.group(1)) else None


def _is_valid(code: str) -> bool:
    try:
        return parse_code(code) == code
    except LinkRefused:
        return False
