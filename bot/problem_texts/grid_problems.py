"""About the axes of grids, by the problem of an `InvalidOption`."""

from collections.abc import Mapping

from bot.errors import InvalidOption
from bot.i18n import N_

GRID_PROBLEMS: Mapping[str, str] = {
    "axis_form": N_("{option} is {value}, but must be an option and its values, such as steps=4,8 or steps=4-20:4."),
    "axis_object": N_('{option} must be {{"option": "steps", "values": [4, 8]}}, or a text such as steps=4,8.'),
    "axis_values": N_("{option} has no values for {value}: write some, such as steps=4,8."),
    "axis_empty": N_('{option} has an empty value in {value}: take the comma out, or write "" for an empty text.'),
    "axis_value_twice": N_("{option} has the value {value} twice; give it once."),
    "axis_twice": N_("{option} changes {value}, which another axis already changes: choose another option for it."),
    "axis_and_option": N_("{option} is given for all cells and as the axis {value}: give it once."),
    "axis_prompt": N_("{option} searches the prompt for {value}, which is not in it: the first value must be."),
    "axis_control": N_("{option} changes the weight of a control {value}, but no such control picture is attached."),
    "grid_cells": N_("The grid has {value} cells; the limit is {allowed}. Use fewer values."),
    "grid_needs_quote": N_("The grid has {value} cells. Request a quote first, and send it with the grid to confirm."),
    "grid_combinations": N_(
        "The prompt of a grid cannot have {{a|b}}: make the choices an axis, such as prompt=a,b, or leave them out."
    ),
}
AXIS_REFUSED = N_("{axis}, {place}: {reason}")
"""A value of an axis, and why it is refused."""


class AxisRefused(InvalidOption):
    """A value of an axis, or a cell, is refused.

    Args:
        place: the option of the axis and its value ("steps=500"), or those of several axes of a cell.
    """

    def __init__(self, axis: str, place: str, reason: InvalidOption) -> None:
        super().__init__(axis, reason.problem, value=reason.value, allowed=reason.allowed, nearest=reason.nearest)
        self.place = place
        self.reason = reason
