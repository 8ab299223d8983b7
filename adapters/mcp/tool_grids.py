"""Answers about grids: the sheets, and which cell is which job."""

import base64
from collections.abc import Mapping
from typing import Any

from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent

from adapters.mcp.tool_answers import DONE, MAX_BASE64, is_finished, picture_uri, read_shrunk
from adapters.mcp.tool_backend import Body, ToolBackend
from adapters.mcp.tool_images import IMAGE_RESOURCE


async def grid_answer(backend: ToolBackend, batch: Body) -> CallToolResult:
    """The sheets of a grid that has ended; of another one, how to ask again. An error if no cell has a picture."""
    jobs = {job["id"]: job for job in batch["jobs"]}
    finished = sum(is_finished(job) for job in jobs.values())
    if finished < len(jobs):
        return CallToolResult(content=[TextContent(text=_pending_text(batch, finished))])
    lines = [f"Grid {batch['batch']}: {len(jobs)} cells."]
    lines += [_axis_line(axis) for axis in batch["axes"]]
    lines += [_cell_line(batch["axes"], cell, jobs.get(cell["job"])) for cell in batch["cells"]]
    content: list[ContentBlock] = [TextContent(text="\n".join(lines))]
    for sheet in batch["sheets"]:
        content += await _sheet(backend, sheet, len(batch["sheets"]))
    return CallToolResult(content=content, is_error=not batch["sheets"])


async def _sheet(backend: ToolBackend, sheet: Body, count: int) -> list[ContentBlock]:
    link = ResourceLink(
        uri=f"{IMAGE_RESOURCE}{sheet['id']}",
        name=f"easel-{sheet['id'][:12]}",
        description=sheet["alt"] or None,
        mime_type=sheet["media_type"],
    )
    limit = MAX_BASE64 * 3 // 4 // count - 3
    if sheet["spoiler"] or (small := await read_shrunk(backend, sheet["id"], limit)) is None:
        return [link]
    return [ImageContent(data=base64.b64encode(small.data).decode("ascii"), mime_type=small.media_type), link]


def _pending_text(batch: Body, finished: int) -> str:
    name = batch["batch"]
    return (
        f"Job {name} has not finished: {finished} of {len(batch['jobs'])} cells are done. It goes on. Call the tool "
        f"`job` with the id {name} to wait for its result, or `cancel` to stop it."
    )


def _axis_line(axis: Body) -> str:
    places = {"x": "Columns", "y": "Rows", "z": "Sheets"}
    return f"{places[axis['axis']]}: {axis['title']} {', '.join(axis['labels'])}"


def _cell_line(axes: list[Body], cell: Mapping[str, Any], job: Body | None) -> str:
    where = ", ".join(f"{axis['title']} {axis['labels'][cell[axis['axis']]]}" for axis in axes)
    if job is None:
        return f"{where}: deleted"
    if job["state"] in DONE:
        return f"{where}: {picture_uri(job['id'], 1)}"
    return f"{where}: {(job['error'] or {}).get('message', job['state'])}"
