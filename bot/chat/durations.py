"""Durations in words."""

from bot.i18n import Translate


def format_duration(seconds: float, translate: Translate) -> str:
    if seconds < 90:
        return translate("about {n} s").format(n=max(1, round(seconds)))
    if seconds < 5400:
        return translate("about {n} min").format(n=round(seconds / 60))
    return translate("about {n} h").format(n=round(seconds / 3600))
