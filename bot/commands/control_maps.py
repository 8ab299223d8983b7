"""Which control maps need a model, and which shape a ready map must have."""

from collections.abc import Iterable, Mapping
from typing import Any

from bot.commands.imagine import fit_aspect
from bot.errors import InvalidOption, NoModel
from bot.i18n import N_
from bot.jobs import ImageRef, StoredImage
from bot.models import CONTROL_KINDS, DEPTH_ESTIMATION, KEYPOINT_DETECTION, ModelRegistry, ModelSpec

MAP_TASKS: Mapping[str, str] = {"depth": DEPTH_ESTIMATION, "pose": KEYPOINT_DETECTION}
"""By kind of control: the task of the models that make its maps."""
DRAWN_KINDS = tuple(kind for kind in CONTROL_KINDS if kind not in MAP_TASKS)
"""Image tools of the same names make these maps, without a model."""
_UNAVAILABLE: Mapping[str, str] = {
    "depth": N_(
        "I can't make depth maps here yet: give a ready depth map instead, or the owner can add a model "
        "(`easel models use depth-anything`)."
    ),
    "pose": N_(
        "I can't find poses in pictures here yet: give a ready pose map instead, or the owner can add a model "
        "(`easel models use vitpose`)."
    ),
}
_SHAPE_TOLERANCE = 0.02


def choose_map_model(kind: str, models: ModelRegistry, command: str) -> ModelSpec:
    """The model that makes maps of a kind in `MAP_TASKS`. Raises: NoModel: a sentence names what to add."""
    model = models.default_for(MAP_TASKS[kind])
    if model is None:
        raise NoModel(command, _UNAVAILABLE[kind])
    return model


def kinds_to_map(images: Iterable[ImageRef]) -> list[str]:
    """The kinds of the controls that are pictures of which a map is to be made first."""
    return [image.kind for image in images if image.role == "control" and not image.ready]


def check_map_shapes(
    images: Iterable[ImageRef], pictures: Iterable[StoredImage], model: ModelSpec, options: Mapping[str, Any]
) -> None:
    """Raises: InvalidOption: a ready map has another shape than the picture that is asked for."""
    if not {"width", "height"} <= options.keys():
        return
    width, height = int(options["width"]), int(options["height"])
    by_id = {picture.id: picture for picture in pictures}
    for image in images:
        if image.role == "control" and image.ready and image.id in by_id:
            made = by_id[image.id]
            if not _has_shape(made.width / made.height, model, width, height):
                sizes = (f"{made.width}x{made.height}", f"{width}x{height}")
                raise InvalidOption(image.kind, "map_shape", value=sizes[0], allowed=sizes[1])


def _has_shape(aspect: float, model: ModelSpec, width: int, height: int) -> bool:
    """Whether it is that of the size, or would be if its sides were multiples that the model supports."""
    if abs(aspect * height / width - 1) <= _SHAPE_TOLERANCE:
        return True
    try:
        return fit_aspect(model, aspect, "aspect") == (width, height)
    except InvalidOption:
        return False
