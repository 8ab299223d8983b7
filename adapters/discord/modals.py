"""The only modal: one text field. Its id says what the text is about, so a restart loses nothing."""

import re

import discord

from adapters.discord import texts
from bot.chat.texts import BUTTONS
from bot.i18n import translator
from bot.options import MAX_PROMPT

MAX_QUESTION = 500
MAX_LABEL = 45
_TARGET = re.compile(r"menu:(ask|vary):(\d{1,20}:\d{1,20})")


class TextModal(discord.ui.Modal):
    def __init__(self, custom_id: str, action: str, locale: str, default: str = "") -> None:
        super().__init__(title=translator(locale)(BUTTONS[action])[:MAX_LABEL], custom_id=custom_id)
        field: discord.ui.TextInput[TextModal] = discord.ui.TextInput(
            custom_id="words",
            style=discord.TextStyle.short if action == "ask" else discord.TextStyle.paragraph,
            max_length=MAX_QUESTION if action == "ask" else MAX_PROMPT,
            default=default[:MAX_PROMPT] or None,
        )
        self.add_item(discord.ui.Label(text=translator(locale)(texts.FORM_LABELS[action])[:MAX_LABEL], component=field))
        self.stop()  # a view that is not stopped is kept for 15 minutes, for each press of a button

    async def on_submit(self, interaction: discord.Interaction) -> None:
        """Nothing: the event handler receives every submission, also of modals opened before a restart."""


def encode_target(action: str, target: str) -> str:
    return f"menu:{action}:{target}"


def parse_target(custom_id: str) -> tuple[str, str] | None:
    """The action and message of a modal that a message menu opened; None: it is another modal."""
    match = _TARGET.fullmatch(custom_id)
    return (match.group(1), match.group(2)) if match else None
