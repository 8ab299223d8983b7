"""Translates the commands to every language with a catalogue: descriptions and menu names, not what is typed."""

from discord import Locale, app_commands
from discord.app_commands import TranslationContextLocation, TranslationContextTypes, locale_str

from bot.i18n import translator

MAX_LENGTHS = {
    TranslationContextLocation.command_description: 100,
    TranslationContextLocation.parameter_description: 100,
    TranslationContextLocation.choice_name: 100,
}
MAX_MENU_NAME = 32


class CatalogueTranslator(app_commands.Translator):
    """discord.py asks it for each sentence in each of Discord's languages; most have no catalogue."""

    async def translate(self, string: locale_str, locale: Locale, context: TranslationContextTypes) -> str | None:
        is_menu = isinstance(context.data, app_commands.ContextMenu)
        limit = MAX_MENU_NAME if is_menu else MAX_LENGTHS.get(context.location)
        translation = translator(locale.value)(string.message)
        return None if limit is None or translation == string.message else translation[:limit]
