"""What requests that repaint a part of a picture have in common: the part is a mask, or a region that words name.

`edit` repaints its part with an ordinary model where no model that edits by instruction is the default.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bot.commands.base import Command
from bot.commands.region_words import is_ground, split_regions
from bot.errors import InvalidOption
from bot.i18n import N_, translator
from bot.jobs import ImageRef, Origin, StoredImage
from bot.models import ModelSpec

STRENGTH = 1.0
"""Default denoising strength: what is repainted starts from noise alone."""
MASKED, WHOLE = "masked", "whole"
AREAS = (MASKED, WHOLE)
_MAX_SHAPE_DIFFERENCE = 0.1
"""Of the shapes of picture and mask."""
_SIZES = ("size", "aspect", "width", "height")

REPAINTED = N_("No model here edits by instruction, so {model} repainted the part you named from the prompt.")
NAME_A_REGION = N_(
    "I can't edit pictures here yet; the owner can add a model. I can repaint one part: name it with the option "
    "region, for example the hat."
)


def repaints_part(values: Mapping[str, Any], images: Sequence[ImageRef]) -> bool:
    return bool(values.get("region")) or any(image.role == "mask" for image in images)


def names_thing(options: Mapping[str, Any]) -> bool:
    """Whether words name what is repainted, rather than what is around it."""
    words = split_regions(str(options.get("region") or ""))
    return bool(words) and any(map(is_ground, words)) == bool(options.get("keep"))


def names_ground(options: Mapping[str, Any]) -> bool:
    """Whether words name what is repainted as all that is around something."""
    return bool(options.get("region")) and not names_thing(options)


def choose_area(values: Mapping[str, Any]) -> str:
    """A given size is that of the result, to which the whole picture is scaled."""
    sized = any(values.get(name) for name in _SIZES)
    return str(values.get("inpaint_area") or (WHOLE if sized else MASKED))


def check_mask_shape(images: Sequence[ImageRef], pictures: Sequence[StoredImage]) -> None:
    """`pictures`: the measured images. Raises: InvalidOption: the mask was made for a picture of another shape."""
    by_role = {image.role: picture for image, picture in reversed(list(zip(images, pictures, strict=True)))}
    picture, mask = by_role.get("init"), by_role.get("mask")
    if picture is None or mask is None:
        return
    ratio = (mask.width * picture.height) / (mask.height * picture.width)
    if not 1 - _MAX_SHAPE_DIFFERENCE <= ratio <= 1 / (1 - _MAX_SHAPE_DIFFERENCE):
        sizes = (f"{one.width}x{one.height}" for one in (mask, picture))
        raise InvalidOption("mask", "mask_shape", value=next(sizes), allowed=next(sizes))


def note_repainting(origin: Origin, asked: Command, adapted: Command, model: ModelSpec) -> Origin:
    """The origin of a request, with a note for its result if an edit became an inpainting."""
    if asked.name == adapted.name or asked.name != "edit":
        return origin
    note = translator(origin.locale)(REPAINTED).format(model=model.display_name)
    return replace(origin, extra={**origin.extra, "notes": [*origin.extra.get("notes", ()), note]})
