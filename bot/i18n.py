"""Translation through gettext catalogues in `bot/locales/`, with English as the source.

`make locales` collects every sentence given to `translate(...)` and `N_(...)` into the template `easel.pot`.
"""

import gettext
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

LOCALES = Path(__file__).parent / "locales"

Translate = Callable[[str], str]

_LOCALE = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z0-9]{2,8}))?(?:[-_][A-Za-z0-9]{1,8})*")


def N_(sentence: str) -> str:
    """Marks a sentence that is translated elsewhere, for the template."""
    return sentence


def translator(locale: str) -> Translate:
    """The translation function for a platform's language name ("de", "pt-BR"); English for an unknown one."""
    return _translator(_folder_name(locale))


def has_catalogue(locale: str) -> bool:
    """Whether there is a catalogue for the language."""
    return gettext.find("easel", LOCALES, [_folder_name(locale)]) is not None


def list_translations(locale: str) -> dict[str, str | list[str]]:
    """Every translated sentence by its English one, with several forms where it depends on a number."""
    try:
        catalogue = gettext.translation("easel", LOCALES, [_folder_name(locale)])
    except OSError:
        return {}
    found: dict[str, str | list[str]] = {}
    for key, text in catalogue._catalog.items():  # type: ignore[attr-defined]  # gettext offers no other way to list them
        if isinstance(key, tuple):
            forms = found.setdefault(key[0], [])
            if isinstance(forms, list):
                forms.append(text)
        elif key:
            found[key] = text
    return found


def _folder_name(locale: str) -> str:
    match = _LOCALE.fullmatch(locale)  # untrusted input that becomes a folder name
    if match is None:
        return "en"
    language, region = match.group(1).lower(), match.group(2)
    return f"{language}_{region.upper()}" if region else language


@lru_cache(maxsize=64)
def _translator(name: str) -> Translate:
    translate = gettext.translation("easel", LOCALES, [name], fallback=True).gettext
    return lambda sentence: translate(sentence) if sentence else ""
