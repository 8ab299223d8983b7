"""Places in words: 1st, 2nd."""

from bot.i18n import Translate


def format_ordinal(number: int, translate: Translate) -> str:
    if number % 100 not in (11, 12, 13):
        match number % 10:
            case 1:
                return translate("{n}st").format(n=number)
            case 2:
                return translate("{n}nd").format(n=number)
            case 3:
                return translate("{n}rd").format(n=number)
    return translate("{n}th").format(n=number)
