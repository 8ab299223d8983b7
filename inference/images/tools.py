"""Image tools that need no model: a registry of functions from images to images.

They run in a process like the image worker's, with numpy. A new tool is a function and a line in `TOOLS`.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image

from bot.errors import EngineError
from inference.images.encode import save_image
from inference.ipc.tool_messages import ToolReply, ToolRequest

Tool = Callable[[Sequence[Image.Image], Mapping[str, Any]], Sequence[Image.Image]]
"""Gets decoded images in their own modes, and values that only it knows. Raises: InvalidOption."""

TOOLS: Mapping[str, Tool] = {}


def run_tool(request: ToolRequest) -> ToolReply:
    """Raises: EngineError: there is no such tool; what the tool raises."""
    tool = TOOLS.get(request.tool)
    if tool is None:
        raise EngineError(detail=f"there is no image tool {request.tool}")
    made = tool([_open(data) for data in request.images], request.values)
    is_generated = bool(request.parameters or request.easel)
    replies = [save_image(image, "png", request.parameters, request.easel, is_generated=is_generated) for image in made]
    return ToolReply(images=tuple((reply.data, reply.width, reply.height) for reply in replies))


def _open(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
    image.load()
    return image
