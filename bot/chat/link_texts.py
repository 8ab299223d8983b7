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
    "web": N_("page or API"),
    "local": N_("this computer"),
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
        quota = translate("Together you have used {used} s of compute today (no daily limit).").format(used=used)
    else:
        sentence = translate("Together you have used {used} of {limit} s of compute today (the larger limit).")
        quota = sentence.format(used=used, limit=format_seconds(limit))
    lines = [
        translate("These accounts will be linked:"),
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
    "Your code is {code}. Within 10 minutes, enter it from your other account ({command}) or on the page. Both "
    "accounts then share one history, quota and gallery. Keep it to yourself: anyone with it can access your account."
)
LINKED_NOW = N_("Linked accounts: {accounts}. To unlink this one: {remove}")
WARNING = N_(
    "They will share history, pictures, favourites, collections, defaults and API keys. Only link accounts of your "
    "own: anyone with access to one of them can see and delete everything."
)
LINKED = N_("Done. These accounts are now linked: {accounts}.")
IN_PRIVATE = N_("Accounts can only be linked in private. Send me /link in a private chat.")
CODE_SEEN = N_(
    "Others here could see this code, so it no longer works. Send me /link in a private chat to get a new one."
)
CONFIRM_UNLINK = N_(
    "This account will start over without history. History, pictures and favourites stay with {accounts}. What you "
    "have used today still counts. Are you sure?"
)
UNLINKED = N_("Done. This account is no longer linked. The other accounts keep everything.")
CONFIRM_FORGET_ALL = N_(
    "This permanently deletes the history, pictures and defaults of all your linked accounts: {accounts}. Are you sure?"
)
LINK = N_("Link")
UNLINK = N_("Unlink")
