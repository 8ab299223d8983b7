"""The only modal: one text field, two about a part. Its id says what the text is about: a restart loses nothing."""

import re

import discord

from adapters.discord import texts
from bot.chat.texts import BUTTONS
from bot.commands.region_words import MAX_LENGTH
from bot.i18n import translator
from bot.options import MAX_PROMPT
from bot.usecases.reports import MAX_REASON

MAX_LENGTHS = {"ask": 500, "region": MAX_LENGTH, "report": MAX_REASON}
"""Characters of texts of one line, by the action of the form."""
MAX_LABEL = 45
_TARGET = re.compile(r"menu:(ask|vary|report):(\d{1,20}:\d{1,20})")


class TextModal(discord.ui.Modal):
    def __init__(self, custom_id: str, action: str, locale: str, default: str = "") -> None:
        super().__init__(title=translator(locale)(BUTTONS[action])[:MAX_LABEL], custom_id=custom_id)
        field: discord.ui.TextInput[TextModal] = discord.ui.TextInput(
            custom_id="words",
            style=discord.TextStyle.short if action in MAX_LENGTHS else discord.TextStyle.paragraph,
            max_length=MAX_LENGTHS.get(action, MAX_PROMPT),
            default=default[:MAX_PROMPT] or None,
            required=action != "report",
        )
        self._add_labelled(texts.FORM_LABELS[action], field, locale)
        if action == "region":
            self._add_labelled(texts.REGION_LABEL, _prompt_field(), locale)
        self.stop()  # a view that is not stopped is kept for 15 minutes, for each press of a button

    def _add_labelled(self, label: str, field: "discord.ui.TextInput[TextModal]", locale: str) -> None:
        self.add_item(discord.ui.Label(text=translator(locale)(label)[:MAX_LABEL], component=field))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        """Nothing: the event handler receives every submission, also of modals opened before a restart."""


def _prompt_field() -> "discord.ui.TextInput[TextModal]":
    return discord.ui.TextInput(custom_id="prompt", style=discord.TextStyle.paragraph, max_length=MAX_PROMPT)


def encode_target(action: str, target: str) -> str:
    return f"menu:{action}:{target}"


def parse_target(custom_id: str) -> tuple[str, str] | None:
    """The action and message of a modal that a message menu opened; None: it is another modal."""
    match = _TARGET.fullmatch(custom_id)
    return (match.group(1), match.group(2)) if match else None
