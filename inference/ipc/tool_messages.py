"""The messages about image tools, to and from their process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ToolRequest:
    """Run the tool of this name on encoded images. Attributes: see `ImageProcessor.run_tool`."""

    tool: str
    images: tuple[bytes, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    parameters: str = ""
    easel: str = ""


@dataclass(frozen=True, kw_only=True)
class ToolReply:
    """PNG files with their widths and heights. `parameters`: the A1111 text in them."""

    images: tuple[tuple[bytes, int, int], ...]
    parameters: str = ""
