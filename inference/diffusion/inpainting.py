"""Inpainting of a part of a picture: what is computed at the model's size, and how it comes back into the picture.

With the area "masked", the picture keeps its own size and every pixel that the mask leaves black: a box around the
mask, in the shape of the computed size, is cut out, scaled to that size, repainted and pasted back. With the area
"whole", the picture is first scaled and cropped to the computed size, which is that of the result.
"""

from dataclasses import dataclass

import numpy
from PIL import Image

from bot.commands.inpainting import names_ground, names_thing
from bot.ports import Task
from inference.diffusion.masks import fit_mask, fit_mask_to_picture, is_empty, keeps_size, mask_of, scale_mask
from inference.images.flatten import cover_crop, open_on_white
from inference.images.inpaint_tools import feather_mask, follows_outline, grow_mask

CONTEXT = 0.25
"""Of the longer side of what is repainted: how much of its surroundings the box has on each side."""
ENLARGED_FROM, MAX_ENLARGED = 2.0, 4.0
"""A box that would be enlarged less than the first keeps its pixels; none is enlarged more than the second."""
WHOLE_FROM = 0.7
"""A box with sides of at least this share of the largest one becomes that."""

GROWN, FEATHERED = 1.0, 0.25
"""Sides of latent cells by which a thing that words name is grown, and over which a mask becomes soft."""

Size = tuple[int, int]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; it may extend beyond the picture."""


@dataclass(frozen=True)
class MaskedArea:
    """Attributes:
    picture: RGB, in the size of the result.
    mask: mode L, in the same size; 255 is repainted, 0 kept.
    box: the part that is computed.
    size: the size at which it is computed.
    """

    picture: Image.Image
    mask: Image.Image
    box: Box
    size: Size

    @property
    def image(self) -> Image.Image:
        """The box at the computed size."""
        return self.cut_out(self.picture)

    @property
    def computed_mask(self) -> Image.Image:
        """The box of the mask at the computed size."""
        return scale_mask(_crop(self.mask, self.box, is_black_around=True), self.size)

    def cut_out(self, image: Image.Image) -> Image.Image:
        """The box of an image of the picture's size, at the computed size."""
        return _scale(_crop(image, self.box), self.size)

    def paste(self, pixels: numpy.ndarray) -> numpy.ndarray:
        """The picture with the repainted box, uint8 RGB, (height, width, 3) of the computed size, where the mask is
        white, and a blend where it is grey."""
        left, top, right, bottom = self.box
        repainted = self.picture.copy()
        repainted.paste(_scale(Image.fromarray(pixels), (right - left, bottom - top)), (left, top))
        return numpy.asarray(Image.composite(repainted, self.picture, self.mask))


def masked_area(task: Task, size: Size, *, cell: int = 8, is_cropped: bool = True) -> MaskedArea | None:
    """What of the task's picture is repainted at this size, (width, height); None: it has no mask.

    Args:
        cell: pixels of a side of the latent cells, each of which is repainted as a whole.
        is_cropped: a small part may be cut out and enlarged; else the model sees the whole picture.
    """
    mask = mask_of(task)
    picture = next((image.media.data for image in task.images if image.role == "init"), None)
    if mask is None or picture is None:
        return None
    if not keeps_size(task):
        return MaskedArea(cover_crop(picture, *size), fit_mask(mask, *size), (0, 0, *size), size)
    opened = open_on_white(picture)
    fitted = fit_mask_to_picture(mask, opened.size)
    bounds = fitted.getbbox() if is_cropped and not is_empty(fitted) else None
    box = crop_box(bounds or (0, 0, *opened.size), opened.size, size)
    return MaskedArea(opened, _shape_edge(task, opened, fitted, cell * (box[2] - box[0]) / size[0]), box, size)


def _shape_edge(task: Task, picture: Image.Image, mask: Image.Image, cell: float) -> Image.Image:
    """Of a thing that words name, with room for what replaces it, and soft; soft inside if somebody drew it.

    What is around a thing, or has its outline, is repainted up to it: a soft edge would show the old surroundings.
    `cell`: pixels of the picture.
    """
    if names_thing(task.options):
        return feather_mask(grow_mask(mask, round(cell * GROWN)), round(cell * FEATHERED))
    if names_ground(task.options) or follows_outline(mask, picture):
        return mask
    return feather_mask(mask, round(cell * FEATHERED))


def crop_box(bounds: Box, picture: Size, size: Size) -> Box:
    """The box around what is repainted, with context, in the shape of the computed size.

    It is inside the picture unless the picture is too narrow for its shape; then it is in its middle.
    """
    left, top, right, bottom = bounds
    context = 2 * CONTEXT * max(right - left, bottom - top)
    needed = max((right - left + context) / size[0], (bottom - top + context) / size[1], 1 / MAX_ENLARGED)
    largest = max(picture[0] / size[0], picture[1] / size[1])
    if needed > 1 / ENLARGED_FROM:
        needed = max(needed, 1.0)
    scale = largest if needed >= WHOLE_FROM * largest else needed
    (first, width), (second, height) = (
        _place(round(scale * size[axis]), picture[axis], (bounds[axis] + bounds[axis + 2]) / 2) for axis in (0, 1)
    )
    return first, second, first + width, second + height


def _place(side: int, available: int, middle: float) -> tuple[int, int]:
    """Start and length of the box along one axis."""
    side = max(1, side)
    if side >= available:
        return (available - side) // 2, side
    return min(max(0, round(middle - side / 2)), available - side), side


def _crop(image: Image.Image, box: Box, *, is_black_around: bool = False) -> Image.Image:
    """The box of the image; beyond its edges, their pixels are repeated, or it is black."""
    left, top, right, bottom = box
    inside = (max(0, left), max(0, top), min(image.width, right), min(image.height, bottom))
    if is_black_around or inside == box:
        return image if box == (0, 0, *image.size) else image.crop(box)
    pixels = numpy.asarray(image.crop(inside))
    around = ((inside[1] - top, bottom - inside[3]), (inside[0] - left, right - inside[2]), (0, 0))
    return Image.fromarray(numpy.pad(pixels, around[: pixels.ndim], mode="edge"))


def _scale(image: Image.Image, size: Size) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
