"""What people read about their own account: what they have used, their defaults, their data."""

from collections.abc import Mapping
from typing import Any

from bot.chat.arguments import TYPED, CommandStyle
from bot.chat.texts import format_text
from bot.i18n import N_, translator
from bot.usecases import Quota


def format_quota(quota: Quota, locale: str = "en") -> str:
    translate = translator(locale)
    used = format_seconds(quota.used)
    if quota.limit is None:
        lines = [translate("You have used {used} s of compute today. You have no daily limit.").format(used=used)]
    else:
        sentence = translate("You have used {used} of {limit} s of compute today. Resets at {time} UTC.")
        lines = [sentence.format(used=used, limit=format_seconds(quota.limit), time=f"{quota.resets_at:%H:%M}")]
    if quota.reserved >= 0.05:
        reserved = format_seconds(quota.reserved)
        lines.append(translate("Your jobs in the queue reserve another {reserved} s.").format(reserved=reserved))
    return " ".join(lines)


def format_seconds(seconds: float) -> str:
    return f"{seconds:.1f}".removesuffix(".0")


OPTION_NAMES: Mapping[str, str] = {"negative_prompt": "negative", "guidance_scale": "guidance"}
"""Options that have another name in chats than in REST bodies."""


def public_option(name: str) -> str:
    """What people in chats call an option: `negative` for `negative_prompt`."""
    return OPTION_NAMES.get(name, name)


def format_settings(values: Mapping[str, Any], locale: str = "en", *, style: CommandStyle = TYPED) -> str:
    translate = translator(locale)
    if not values:
        example = style.write("settings", {"option": "steps", "value": "30"})
        return translate("You have no defaults of your own. To set one, for example: {example}").format(example=example)
    lines = [f"{public_option(name)}: {value}" for name, value in values.items()]
    clear = style.write("settings", {"option": next(map(public_option, values)), "value": "default"})
    return "\n".join([translate("Your defaults:"), *lines, translate("To clear one: {clear}").format(clear=clear)])


def format_privacy(locale: str = "en", *, style: CommandStyle = TYPED) -> str:
    export, forget = (style.write("privacy", {"what": what}) for what in ("export", "forget"))
    return format_text(PRIVACY, locale, export=export, forget=forget)


PRIVACY = N_(
    "What I keep about you: your prompts and questions, the pictures you sent and got, your defaults and your usage. "
    "Nothing from a chat is used to train models. "
    "{export} sends you a copy. {forget} deletes all of it and cancels your jobs; this cannot be undone. "
    "Messages in this chat stay until you delete them."
)
EXPORTED = N_("Here is everything I keep about you.")
FORGOTTEN = N_("Done. Everything I kept about you is deleted.")
CONFIRM_FORGET = N_("This permanently deletes your history, pictures and defaults. Are you sure?")
SETTING_NEEDS_OPTION = N_("Choose the option that the value is for.")
