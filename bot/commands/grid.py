"""`grid`: the same picture with every combination of the values of up to three axes.

Its cells are jobs of their own, of `imagine` or `edit`: nothing runs a grid itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bot.commands.edit import IMAGE_GUIDANCE, Edit
from bot.commands.grid_axes import AXES, Axis, AxisSpec, read_axes
from bot.commands.imagine import Imagine
from bot.i18n import N_
from bot.jobs import ImageRef
from bot.options import MAX_PROMPT, OptionSpec

_HELP = {
    "x": N_("What the columns change, and its values: steps=4,8 or guidance=1-7:2"),
    "y": N_("What the rows change, and its values"),
    "z": N_("What the sheets change, and its values"),
}
_IMAGE_GUIDANCE = next(spec for spec in Edit.specs if spec.name == IMAGE_GUIDANCE)
_CELL_SPECS: tuple[OptionSpec, ...] = (*Imagine.specs, _IMAGE_GUIDANCE)


@dataclass(frozen=True, kw_only=True)
class Grid(Imagine):
    name = "grid"
    summary = N_("Compare settings: pictures of every combination, on one sheet")
    smoke_tests: ClassVar[tuple[str, ...]] = ()
    images_allowed = Edit.images_allowed
    specs: ClassVar[tuple[OptionSpec, ...]] = (
        *_CELL_SPECS,
        *(
            AxisSpec(name=name, kind=str, help=_HELP[name], maximum=MAX_PROMPT, axis_options=_CELL_SPECS)
            for name in AXES
        ),
    )

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Raises: InvalidOption."""
        return read_axes(self.values)

    @property
    def cell_options(self) -> dict[str, Any]:
        """The options that all cells have."""
        return {name: value for name, value in self.values.items() if name not in AXES}


def cell_command(options: Mapping[str, Any], images: Sequence[ImageRef]) -> str:
    """The command of a cell: an edit, where only that takes the options or so many images."""
    pictures = sum(image.role == "init" for image in images)
    is_edit = options.get(IMAGE_GUIDANCE) is not None or pictures > Imagine.images_allowed
    return Edit.name if is_edit else Imagine.name
