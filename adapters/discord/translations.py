"""The languages of the commands: whatever has a catalogue. Names stay as they are typed; those of menus do not."""

from discord import Locale, app_commands
from discord.app_commands import TranslationContextLocation as Where
from discord.app_commands import TranslationContextTypes, locale_str

from bot.i18n import translator

MAX_LENGTHS = {
    Where.command_description: 100,
    Where.parameter_description: 100,
    Where.choice_name: 100,
}
MAX_MENU_NAME = 32


class CatalogueTranslator(app_commands.Translator):
    """Asked for every sentence and every language that Discord has; most have no catalogue."""

    async def translate(self, string: locale_str, locale: Locale, context: TranslationContextTypes) -> str | None:
        is_menu = isinstance(context.data, app_commands.ContextMenu)
        longest = MAX_MENU_NAME if is_menu else MAX_LENGTHS.get(context.location)
        said = translator(locale.value)(string.message)
        return None if longest is None or said == string.message else said[:longest]
