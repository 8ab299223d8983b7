"""Where a picture stands on the larger canvas around it that is painted: `zoom`, `pan` and `square`. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PAN_SHARE = 0.5
"""Of a side, by which `pan` extends it."""
DIRECTIONS = ("left", "right", "up", "down")
Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """In pixels: the result's size, and the place and size of the picture on it."""

    width: int
    height: int
    left: int
    top: int
    picture: Size

    @property
    def is_full(self) -> bool:
        """Nothing is left to paint."""
        return self.picture == (self.width, self.height)


def plan_canvas(command: str, options: Mapping[str, Any], size: Size) -> Canvas:
    """The canvas of one of the commands for a picture of this size, width and height."""
    if command == "zoom":
        return _zoom_out(size, float(options["factor"]))
    if command == "pan":
        return _extend(size, str(options["direction"]))
    side = max(size)
    return Canvas(width=side, height=side, left=(side - size[0]) // 2, top=(side - size[1]) // 2, picture=size)


def _zoom_out(size: Size, factor: float) -> Canvas:
    """The picture becomes smaller on a canvas of its own size."""
    width, height = (max(1, round(side / factor)) for side in size)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return Canvas(width=size[0], height=size[1], left=left, top=top, picture=(width, height))


def _extend(size: Size, direction: str) -> Canvas:
    """The canvas grows to one side; the picture keeps its pixels."""
    width, height = size
    if direction in ("left", "right"):
        added = round(width * PAN_SHARE)
        left = added if direction == "left" else 0
        return Canvas(width=width + added, height=height, left=left, top=0, picture=size)
    added = round(height * PAN_SHARE)
    top = added if direction == "up" else 0
    return Canvas(width=width, height=height + added, left=0, top=top, picture=size)
