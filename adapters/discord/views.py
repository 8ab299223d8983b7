"""The buttons under messages. A button carries all that it needs in its id, so buttons of any age work."""

import re
from collections.abc import Iterable
from typing import Any, Self

import discord

from adapters.discord.context import connection_of
from bot.chat.buttons import Button, group_buttons
from bot.chat.replies import Confirmation
from bot.chat.texts import format_button, format_text

BUTTON_STYLES = {"cancel": discord.ButtonStyle.danger, "delete": discord.ButtonStyle.danger}
BUTTONS_PER_ROW, MAX_ROWS = 5, 5
OWN_BUTTONS = re.compile(r"(?s)(?:v1|own):.*")


class JobButton(discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]], template=OWN_BUTTONS):
    """Any of the bot's buttons, of any age; the core checks what it carries."""

    def __init__(
        self, custom_id: str, label: str = "", style: discord.ButtonStyle = discord.ButtonStyle.secondary
    ) -> None:
        super().__init__(discord.ui.Button(label=label, style=style, custom_id=custom_id))

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        return cls(match.group())

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        await connection_of(interaction).event_handler.on_button(interaction, self.custom_id)


def build_view(buttons: Iterable[Button], locale: str) -> discord.ui.View:
    """At most five rows of five; those that show or vary one of several pictures, zoom, or pan have rows of their
    own."""
    view = discord.ui.View(timeout=None)
    for row, shown in enumerate(_arrange_rows(buttons)[:MAX_ROWS]):
        for button in shown:
            style = BUTTON_STYLES.get(button.action, discord.ButtonStyle.secondary)
            item = JobButton(button.encode(), format_button(button, locale)[:80], style)
            item.row = row
            view.add_item(item)
    return view


def _arrange_rows(buttons: Iterable[Button]) -> list[list[Button]]:
    groups: list[list[Button]] = [[]]
    for kind, group in group_buttons(buttons):
        if kind in ("show", "vary", "zoom", "pan"):
            groups += [group, []]
        else:
            groups[-1] += group
    return [group[at : at + BUTTONS_PER_ROW] for group in groups for at in range(0, len(group), BUTTONS_PER_ROW)]


def build_confirm_view(confirmation: Confirmation, locale: str) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    accept = format_text(confirmation.accept_label, locale)
    view.add_item(JobButton(confirmation.accept, accept, discord.ButtonStyle.danger))
    view.add_item(JobButton(confirmation.decline, format_text(confirmation.decline_label, locale)))
    return view
