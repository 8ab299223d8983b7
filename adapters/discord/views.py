"""The buttons under messages. A button carries all that it needs in its id, so buttons of any age work."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Self

import discord

from adapters.discord.context import connection_of
from bot.chat import grid_texts
from bot.chat.buttons import Button, group_buttons, split_cells
from bot.chat.replies import Confirmation
from bot.chat.texts import format_button, format_text

BUTTON_STYLES = {"cancel": discord.ButtonStyle.danger, "delete": discord.ButtonStyle.danger}
BUTTONS_PER_ROW, MAX_ROWS = 5, 5
MENU_OPTIONS, MENU_TEXT = 25, 100
"""Discord's limits: options of a select menu, characters of each of its texts."""
OWN_BUTTONS = re.compile(r"(?s)(?:v1|own):.*")
OWN_MENUS = re.compile(r"cells:[0-9]")


def is_own(custom_id: str) -> bool:
    """Whether the library dispatches what has this id."""
    return OWN_BUTTONS.match(custom_id) is not None or OWN_MENUS.fullmatch(custom_id) is not None


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


class CellMenu(discord.ui.DynamicItem[discord.ui.Select[discord.ui.View]], template=OWN_MENUS):
    """Some of a grid's pictures: what is chosen works like a button with that id."""

    def __init__(
        self, custom_id: str, placeholder: str = "", options: Sequence[discord.SelectOption] = (), *, row: int = 0
    ) -> None:
        super().__init__(
            discord.ui.Select(custom_id=custom_id, placeholder=placeholder or None, options=list(options), row=row)
        )

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        return cls(match.group())

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        data: Any = interaction.data or {}
        values = data.get("values") or [""]
        await connection_of(interaction).event_handler.on_button(interaction, str(values[0]))


def build_view(buttons: Iterable[Button], locale: str) -> discord.ui.View:
    """At most five rows of five; those that show or vary one of several pictures, zoom, or pan have rows of their own.
    The pictures of a grid are in its rows, or where they are too many in menus."""
    view, given = discord.ui.View(timeout=None), list(buttons)
    cells = [button for button in given if button.cell]
    rows = _arrange_cells(cells)
    if len(rows) >= MAX_ROWS:
        menus = [cells[at : at + MENU_OPTIONS] for at in range(0, len(cells), MENU_OPTIONS)][: MAX_ROWS - 1]
        for row, some in enumerate(menus):
            view.add_item(_build_menu(some, row, len(menus), locale))
        rows = [[] for _ in menus]
    rows += _arrange_rows(button for button in given if not button.cell)
    for row, shown in enumerate(rows[:MAX_ROWS]):
        for button in shown:
            style = BUTTON_STYLES.get(button.action, discord.ButtonStyle.secondary)
            item = JobButton(button.encode(), format_button(button, locale)[:80], style)
            item.row = row
            view.add_item(item)
    return view


def _arrange_cells(cells: Sequence[Button]) -> list[list[Button]]:
    """In the rows of the grid; in full rows where those are too many or too long."""
    rows = split_cells(cells)
    if len(rows) < MAX_ROWS and all(len(row) <= BUTTONS_PER_ROW for row in rows):
        return rows
    return [list(cells[at : at + BUTTONS_PER_ROW]) for at in range(0, len(cells), BUTTONS_PER_ROW)]


def _build_menu(cells: Sequence[Button], row: int, menus: int, locale: str) -> CellMenu:
    placeholder = grid_texts.CELL_PLACEHOLDER if menus == 1 else grid_texts.CELLS_PLACEHOLDER
    text = format_text(placeholder, locale, first=cells[0].cell, last=cells[-1].cell)
    options = [discord.SelectOption(label=f"{one.cell}: {one.title}"[:MENU_TEXT], value=one.encode()) for one in cells]
    return CellMenu(f"cells:{row}", text, options, row=row)


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
