"""Translates the commands to every language with a catalogue: descriptions and menu names, not what is typed."""

from discord import Locale, app_commands
from discord.app_commands import TranslationContextLocation, TranslationContextTypes, locale_str

from bot.i18n import Translate, has_catalogue, translator

MAX_LENGTHS = {
    TranslationContextLocation.command_description: 100,
    TranslationContextLocation.parameter_description: 100,
    TranslationContextLocation.choice_name: 100,
}
MAX_MENU_NAME = 32


class CatalogueTranslator(app_commands.Translator):
    """discord.py asks it for each sentence in each of Discord's languages, most of which have no catalogue."""

    def __init__(self) -> None:
        self._translators: dict[Locale, Translate] = {
            locale: translator(locale.value) for locale in Locale if has_catalogue(locale.value)
        }

    @property
    def has_catalogues(self) -> bool:
        return bool(self._translators)

    async def translate(self, string: locale_str, locale: Locale, context: TranslationContextTypes) -> str | None:
        if locale not in self._translators:
            return None
        is_menu = isinstance(context.data, app_commands.ContextMenu)
        limit = MAX_MENU_NAME if is_menu else MAX_LENGTHS.get(context.location)
        translation = self._translators[locale](string.message)
        return None if limit is None or translation == string.message else translation[:limit]
