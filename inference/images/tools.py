"""Image tools that need no model: a registry of functions from images to images.

They run in a process like the image worker's, with numpy. A new tool is a function and a line in `TOOLS`.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image

from bot.errors import EngineError
from inference.images.canvas_tools import extend_canvas
from inference.images.control_maps import draw_canny, draw_lineart, draw_scribble, fit_control, soften_tile
from inference.images.encode import save_image
from inference.images.fit_tools import adjust_mask, fit_picture_to_size
from inference.images.grid_sheet import draw_grid_sheet
from inference.images.inpaint_tools import replace_pixels, separate_things
from inference.images.region_masks import invert_mask, mask_transparency, shape_mask
from inference.images.resize import read_own_metadata
from inference.images.tile_tools import crop_boxes
from inference.ipc.tool_messages import ToolReply, ToolRequest

Tool = Callable[[Sequence[Image.Image], Mapping[str, Any]], Sequence[Image.Image]]
"""Gets decoded images in their own modes, and values that only it knows. Raises: InvalidOption."""

TOOLS: Mapping[str, Tool] = {
    "canny": draw_canny,
    "lineart": draw_lineart,
    "scribble": draw_scribble,
    "tile": soften_tile,
    "fit_control": fit_control,
    "fit_picture": fit_picture_to_size,
    "adjust_mask": adjust_mask,
    "shape_mask": shape_mask,
    "invert_mask": invert_mask,
    "mask_transparency": mask_transparency,
    "extend_canvas": extend_canvas,
    "separate_things": separate_things,
    "replace_pixels": replace_pixels,
    "crop_boxes": crop_boxes,
    "grid_sheet": draw_grid_sheet,
}


def run_tool(request: ToolRequest) -> ToolReply:
    """Raises: EngineError: there is no such tool; what the tool raises."""
    tool = TOOLS.get(request.tool)
    if tool is None:
        raise EngineError(detail=f"there is no image tool {request.tool}")
    images = [_open(data) for data in request.images]
    parameters, easel, is_generated = _metadata_for(request, images)
    replies = [
        save_image(image, "png", parameters, easel, is_generated=is_generated) for image in tool(images, request.values)
    ]
    made = tuple((reply.data, reply.width, reply.height) for reply in replies)
    return ToolReply(images=made, parameters=parameters)


def _metadata_for(request: ToolRequest, images: Sequence[Image.Image]) -> tuple[str, str, bool]:
    """The metadata given, else the first image's; what is made of a generated image is marked as generated."""
    if request.parameters or request.easel:
        return request.parameters, request.easel, True
    each = [read_own_metadata(image) for image in images]
    return each[0][0], each[0][1], any(is_generated for *_, is_generated in each)


def _open(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
    image.load()
    return image
