"""The buttons under messages. A button carries its job and nothing else, so those of last year work as today's do."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import discord

from bot.chat.buttons import Button
from bot.chat.texts import say_button

if TYPE_CHECKING:
    from adapters.discord.client import EaselClient

BUTTON_STYLES = {"cancel": discord.ButtonStyle.danger, "delete": discord.ButtonStyle.danger}
BUTTONS_PER_ROW, MAX_ROWS = 5, 5


class JobButton(discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]], template=r"(?s)v1:.*"):
    """Any button of ours, by whatever process it was made; the core says whether it is a real one."""

    def __init__(
        self, custom_id: str, label: str = "", style: discord.ButtonStyle = discord.ButtonStyle.secondary
    ) -> None:
        super().__init__(discord.ui.Button(label=label, style=style, custom_id=custom_id))

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        return cls(match.group())

    async def callback(self, interaction: "discord.Interaction[EaselClient]") -> None:  # type: ignore[override]
        await interaction.client.event_handler.on_button(interaction, self.custom_id)


def build_view(buttons: Iterable[Button], locale: str) -> discord.ui.View:
    """At most five rows of five."""
    view = discord.ui.View(timeout=None)
    for index, button in enumerate(list(buttons)[: BUTTONS_PER_ROW * MAX_ROWS]):
        style = BUTTON_STYLES.get(button.action, discord.ButtonStyle.secondary)
        item = JobButton(button.encode(), say_button(button, locale)[:80], style)
        item.row = index // BUTTONS_PER_ROW
        view.add_item(item)
    return view
