"""Answers of tools: text for the model, images small enough for it, and links to the images themselves."""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent

from adapters.mcp.tool_backend import Body, ToolBackend
from adapters.mcp.tool_images import RESOURCE
from adapters.web.progress_lines import format_job_progress
from bot.errors import EaselError
from bot.jobs import JobState, Media

MAX_BASE64 = 1_000_000
"""Characters of all images of an answer: programs refuse a longer one."""
MAX_SHOWN = 8
"""Images of an answer; of further ones there are links."""
_WIDTHS = (1024, 512, 256)
DONE = (JobState.RENDERED, JobState.DELIVERED)
_SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def text_answer(text: str, *, is_error: bool = False) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=is_error)


def data_answer(data: Body) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=json.dumps(data, ensure_ascii=False))], structured_content=data)


def picture_uri(job_id: str, number: int) -> str:
    return f"{RESOURCE}{job_id}/{number}"


def is_finished(job: Body) -> bool:
    return JobState(job["state"]).is_final


@dataclass(frozen=True)
class JobAnswer:
    """Puts the answer together from the jobs of one call, which have the same command."""

    backend: ToolBackend

    async def of_jobs(self, jobs: Sequence[Body]) -> CallToolResult:
        """Their results; of those that have not ended, how to ask again. An error if none has a result or goes on."""
        finished = [job for job in jobs if is_finished(job)]
        answered = [job for job in finished if job["state"] in DONE and job["result"] is not None]
        failed = [job for job in finished if job not in answered]
        running = [job for job in jobs if not is_finished(job)]
        content: list[ContentBlock] = [TextContent(text=block) for job in answered for block in _result_texts(job)]
        content += await self._pictures(answered)
        content += [TextContent(text=_failure_text(job)) for job in failed]
        if running:
            content.append(TextContent(text=_pending_text(running)))
        # Programs show either the content or the structured content: with images, there is none of the latter.
        structured = _structured(jobs[0]) if len(jobs) == 1 and not _pictures_of(jobs) and not failed else None
        return CallToolResult(content=content, structured_content=structured, is_error=not answered and not running)

    async def _pictures(self, jobs: Sequence[Body]) -> list[ContentBlock]:
        pictures = _pictures_of(jobs)
        shown = [one for one in pictures if not one[2]["spoiler"]][:MAX_SHOWN]
        limit = MAX_BASE64 * 3 // 4 // max(1, len(shown)) - 3
        content: list[ContentBlock] = []
        for job, number, media in pictures:
            if (job, number, media) in shown and (small := await read_shrunk(self.backend, media["id"], limit)):
                data = base64.b64encode(small.data).decode("ascii")
                content.append(ImageContent(data=data, mime_type=small.media_type))
            content.append(_link(job, number, media))
        return content


async def read_shrunk(backend: ToolBackend, media_id: str, max_bytes: int) -> Media | None:
    """The image, or a smaller form of it that fits; None: there is none, or it was deleted meanwhile."""
    for width in (None, *_WIDTHS):
        try:
            found = await backend.read_image(media_id, max_bytes=max_bytes, width=width)
        except EaselError:
            return None
        if found is not None:
            return found
    return None


def _pictures_of(jobs: Iterable[Body]) -> list[tuple[Body, int, Body]]:
    """Job, number and media of each image that was not deleted."""
    return [
        (job, number, media)
        for job in jobs
        for number, media in enumerate((job["result"] or {}).get("media", ()), 1)
        if media is not None
    ]


def _link(job: Body, number: int, media: Body) -> ResourceLink:
    suffix = _SUFFIXES.get(media["media_type"], "bin")
    return ResourceLink(
        uri=picture_uri(job["id"], number),
        name=f"easel-{job['id']}-{number}.{suffix}",
        description=media["alt"] or None,
        mime_type=media["media_type"],
    )


def _result_texts(job: Body) -> list[str]:
    """An answer in words is a text of its own, which programs show as it is."""
    result, pictures = job["result"], _pictures_of([job])
    lines = [f"Job {job['id']}: done by {result['model']} in {result['seconds']:.1f} s."]
    lines += [_picture_line(job, number, media) for _, number, media in pictures]
    if pictures:
        lines.append(f"To go on from an image, give {picture_uri(job['id'], pictures[0][1])} in `images` of a tool.")
    elif result["media"]:
        lines.append("Its images were deleted.")
    lines += result["notes"]
    return [*([result["text"]] if result["text"] else []), "\n".join(lines)]


def _picture_line(job: Body, number: int, media: Body) -> str:
    seed = f", seed {media['seed']}" if media["seed"] is not None else ""
    score = f", match {100 * media['score']:.0f} %" if media["score"] is not None else ""
    hidden = ". Not shown here: it may be adult content" if media["spoiler"] else ""
    alt = f". {media['alt']}" if media["alt"] else ""
    size = f"{media['width']}x{media['height']}"
    return f"Image {number}: {size}{seed}{score}, {picture_uri(job['id'], number)}{hidden}{alt}"


def _failure_text(job: Body) -> str:
    error = job["error"] or {"message": f"The job ended: {job['state']}."}
    return f"Job {job['id']}: {error['message']}"


def _pending_text(jobs: Sequence[Body]) -> str:
    """Several are those of one batch."""
    first = jobs[0]
    name = first["id"] if len(jobs) == 1 else first["batch"] or first["id"]
    count = f" {len(jobs)} of its images are missing." if len(jobs) > 1 else ""
    return (
        f"Job {name} has not finished: {format_job_progress(first)}{count} It goes on. Call the tool `job` with the id "
        f"{name} to wait for its result, or `cancel` to stop it."
    )


def _structured(job: Body) -> dict[str, Any]:
    if not is_finished(job):
        return {name: job[name] for name in ("id", "command", "state", "position", "eta_s", "progress")}
    result = job["result"]
    return {"id": job["id"], **{name: result[name] for name in ("text", "model", "seconds", "notes")}}
