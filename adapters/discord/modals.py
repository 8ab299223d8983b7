"""The one modal: a field for words. What they are about stands in its id, so that a restart loses nothing."""

import re

import discord

from bot.chat.texts import BUTTONS, HOW_TO_EDIT, WHAT_TO_ASK
from bot.i18n import translator
from bot.options import MAX_PROMPT

MAX_QUESTION = 500
_TARGET = re.compile(r"menu:(ask|vary):(\d{1,20}:\d{1,20})")


class TextModal(discord.ui.Modal):
    def __init__(self, custom_id: str, action: str, locale: str) -> None:
        asked = WHAT_TO_ASK if action == "ask" else HOW_TO_EDIT
        super().__init__(title=translator(locale)(BUTTONS[action])[:45], custom_id=custom_id, timeout=900)
        field: discord.ui.TextInput[TextModal] = discord.ui.TextInput(
            custom_id="words",
            style=discord.TextStyle.short if action == "ask" else discord.TextStyle.paragraph,
            max_length=MAX_QUESTION if action == "ask" else MAX_PROMPT,
        )
        self.add_item(discord.ui.Label(text=translator(locale)(asked)[:45], component=field))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        """The intake hears of every submission itself, also of modals that an earlier life opened."""


def encode_target(action: str, target: str) -> str:
    return f"menu:{action}:{target}"


def parse_target(custom_id: str) -> tuple[str, str] | None:
    """The action and the message that a menu's modal is about; None: it is not one."""
    match = _TARGET.fullmatch(custom_id)
    return (match.group(1), match.group(2)) if match else None
