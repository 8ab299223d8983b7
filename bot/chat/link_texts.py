"""What people read about the accounts that they link."""

from collections.abc import Iterable, Mapping

from bot.chat.account_texts import format_seconds
from bot.chat.arguments import CommandStyle
from bot.chat.texts import format_text
from bot.i18n import N_, translator
from bot.ports import LinkedAccount, LinkResult, LinkSide

PLATFORMS: Mapping[str, str] = {
    "discord": "Discord",
    "telegram": "Telegram",
    "web": N_("page and API"),
    "local": N_("this machine"),
}
REMOVE = "remove"


def format_code(code: str, accounts: Iterable[LinkedAccount], locale: str = "en", *, style: CommandStyle) -> str:
    command = style.write("link", {"code": code})
    lines = [format_text(CODE, locale, code=code, command=command)]
    linked = list(accounts)
    if len(linked) > 1:
        remove = style.write("link", {"code": REMOVE})
        lines.append(format_text(LINKED_NOW, locale, accounts=format_accounts(linked, locale), remove=remove))
    return "\n".join(lines)


def format_accounts(accounts: Iterable[LinkedAccount], locale: str = "en") -> str:
    translate = translator(locale)
    names = (f"{translate(PLATFORMS.get(one.platform, one.platform))} ({one.name})" for one in accounts)
    return ", ".join(names)


def format_preview(result: LinkResult, locale: str = "en", *, style: CommandStyle, code: str) -> str:
    translate = translator(locale)
    used, limit = format_seconds(result.used), result.limit
    if limit is None:
        quota = translate("Together you have used {used} s of compute today, without a daily limit.").format(used=used)
    else:
        sentence = translate("Together you have used {used} of {limit} s of compute today: the larger limit counts.")
        quota = sentence.format(used=used, limit=format_seconds(limit))
    lines = [
        translate("This makes these accounts one person's:"),
        _format_side(result.own, locale),
        _format_side(result.other, locale),
        quota,
        translate(WARNING),
        translate("To link them: {command}").format(command=style.write("link", {"code": f"{code} yes"})),
    ]
    return "\n".join(lines)


def _format_side(side: LinkSide, locale: str) -> str:
    sentence = translator(locale)("- {accounts}: jobs {jobs}, pictures {pictures}, used today {used} s")
    return sentence.format(
        accounts=format_accounts(side.accounts, locale),
        jobs=side.jobs,
        pictures=side.pictures,
        used=format_seconds(side.used),
    )


def format_linked(result: LinkResult, locale: str = "en") -> str:
    return format_text(LINKED, locale, accounts=format_accounts(result.accounts, locale))


CODE = N_(
    "Your code is {code}. Type it within 10 minutes on your other account ({command}) or on the page: both become one "
    "person's, with one history, quota and gallery. Give it to nobody: they would get everything of yours."
)
LINKED_NOW = N_("Linked now: {accounts}. To unlink the account you are writing with: {remove}")
WARNING = N_(
    "History, pictures, favourites, collections, defaults and API keys of both belong to both accounts then. Only link "
    "accounts that are your own: who has the other one sees all of it and can delete it."
)
LINKED = N_("Done. These accounts are one person's now: {accounts}.")
IN_PRIVATE = N_("Accounts are linked in private: send me /link in our own chat.")
CODE_SEEN = N_(
    "Others here have seen this code, so it no longer works. Send me /link in our own chat to get a new one."
)
CONFIRM_UNLINK = N_(
    "This account becomes a new person without history. History, pictures and favourites stay with {accounts}; what "
    "you have used today still counts. Are you sure?"
)
UNLINKED = N_("Done. This account is on its own now, and the other accounts have kept everything.")
CONFIRM_FORGET_ALL = N_(
    "This permanently deletes the history, pictures and defaults of all your linked accounts: {accounts}. Are you sure?"
)
LINK = N_("Link")
UNLINK = N_("Unlink")
