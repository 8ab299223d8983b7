"""Control images: which model has weights for them, and what they cost. Pure."""

from collections.abc import Sequence

from bot.errors import InvalidOption
from bot.jobs import ImageRef
from bot.models import ModelRegistry, ModelSpec

CONTROL_COST = 0.4
"""How much longer a step takes with a control, until it is measured: a ControlNet is the first half of a UNet."""


def missing_control(model: ModelSpec, images: Sequence[ImageRef]) -> str:
    """The first kind of control among the images that the model cannot serve; empty: it can serve all.

    A model without any of them that takes references gets the controls as such.
    """
    kinds = [image.kind for image in images if image.role == "control" and image.weight > 0]
    missing = [kind for kind in kinds if model.control_source(kind) is None]
    return "" if not missing or (model.takes_references and missing == kinds) else missing[0]


def control_model(
    models: ModelRegistry, images: Sequence[ImageRef], task: str, chosen: ModelSpec, *, is_asked: bool
) -> ModelSpec:
    """The chosen model if it can serve the controls; unless it was asked for, another that can.

    Raises: InvalidOption: none can, or the model asked for cannot.
    """
    kind = missing_control(chosen, images)
    if not kind:
        _check_count(chosen, images)
        return chosen
    others = [one for one in models.installed() if task in one.tasks and not missing_control(one, images)]
    if not is_asked:
        for other in others:
            if not models.is_stand_in(other, task):
                return other
    if others:
        names = ", ".join(other.name for other in others)
        raise InvalidOption(kind, "control_elsewhere", value=chosen.name, allowed=names)
    raise InvalidOption(kind, "control_lacks", value=chosen.name)


def _check_count(model: ModelSpec, images: Sequence[ImageRef]) -> None:
    """Raises: InvalidOption: the controls become more references than the model takes."""
    kinds = [image.kind for image in images if image.role == "control" and image.weight > 0]
    if not kinds or not model.takes_references or model.control_source(kinds[0]) is not None:
        return
    pictures = sum(1 for image in images if image.role != "mask")
    if pictures > model.max_images:
        raise InvalidOption("images", "too_many_images", value=pictures, allowed=str(model.max_images))


def control_cost(images: Sequence[ImageRef]) -> float:
    """By how much these controls lengthen the steps; 1: not at all. Each counts for its share of the steps."""
    controls = (image for image in images if image.role == "control" and image.weight > 0)
    return 1 + CONTROL_COST * sum(image.end - image.start for image in controls)
