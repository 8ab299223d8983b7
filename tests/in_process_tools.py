"""Image tools for tests that start no image worker."""

from collections.abc import Mapping, Sequence
from typing import Any

from bot.jobs import Media
from bot.ports import RenderedImage
from inference.images.tools import run_tool
from inference.ipc.tool_messages import ToolRequest


class InProcessTools:
    async def run_tool(
        self,
        tool: str,
        images: Sequence[Media],
        values: Mapping[str, Any] | None = None,
        *,
        parameters: str = "",
        easel: str = "",
        owner: str = "",
    ) -> list[RenderedImage]:
        reply = run_tool(
            ToolRequest(
                tool=tool,
                images=tuple(image.data for image in images),
                values=values or {},
                parameters=parameters,
                easel=easel,
            )
        )
        return [
            RenderedImage(media=Media(data, "image/png"), width=width, height=height, parameters=reply.parameters)
            for data, width, height in reply.images
        ]


TOOLS: Any = InProcessTools()
"""For parts of jobs, which use no other method of an `ImageProcessor`."""
