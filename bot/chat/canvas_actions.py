"""Which of the buttons `zoom`, `pan` and `square` a picture has, and what they ask for. Pure."""

from collections.abc import Mapping
from typing import Any

from bot.commands.canvas import DIRECTIONS
from bot.commands.outpainting import can_outpaint
from bot.jobs import StoredImage
from bot.models import IMAGE_TO_IMAGE, ModelRegistry

ZOOMS = {"15": 1.5, "20": 2.0}
"""The factor of each argument."""
CANVAS_ARGUMENTS: Mapping[str, tuple[str, ...]] = {"zoom": tuple(ZOOMS), "pan": DIRECTIONS}
CANVAS_ACTIONS = frozenset({*CANVAS_ARGUMENTS, "square"})
_OFFERED = [
    *(("zoom", arg) for arg in ZOOMS),
    ("square", ""),
    *(("pan", arg) for arg in DIRECTIONS),
]


def canvas_options(action: str, arg: str) -> dict[str, Any]:
    """The options of the command that the button stands for."""
    match action:
        case "zoom":
            return {"factor": ZOOMS[arg]}
        case "pan":
            return {"direction": arg}
    return {}


def offered_canvases(picture: StoredImage | None, models: ModelRegistry) -> list[tuple[str, str]]:
    """Actions with their arguments, in the order of their buttons: those that a model and the picture's shape allow."""
    if picture is None or models.default_for(IMAGE_TO_IMAGE) is None:
        return []
    size = (picture.width, picture.height)
    return [(action, arg) for action, arg in _OFFERED if can_outpaint(action, canvas_options(action, arg), size)]
