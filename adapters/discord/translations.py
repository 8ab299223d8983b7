"""The languages of the commands: whatever has a catalogue. Names stay as they are typed; those of menus do not."""

from discord import Locale, app_commands
from discord.app_commands import TranslationContextLocation as Where
from discord.app_commands import TranslationContextTypes, locale_str

from bot.i18n import translator

LONGEST = {
    Where.command_description: 100,
    Where.parameter_description: 100,
    Where.choice_name: 100,
}
LONGEST_MENU = 32


class Catalogues(app_commands.Translator):
    """Asked for every sentence and every language that Discord has; most have no catalogue."""

    async def translate(self, string: locale_str, locale: Locale, context: TranslationContextTypes) -> str | None:
        is_menu = isinstance(context.data, app_commands.ContextMenu)
        longest = LONGEST_MENU if is_menu else LONGEST.get(context.location)
        said = translator(locale.value)(string.message)
        return None if longest is None or said == string.message else said[:longest]
