"""Images that a program gives a tool: ids, pictures of jobs, data URLs, base64 and, for `easel mcp`, paths of files."""

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from adapters.mcp.tool_backend import ToolBackend
from adapters.mcp.tool_errors import ToolRefused
from bot.commands import Command
from bot.commands.image_flags import JOB_REF
from bot.errors import ImageGone, InvalidOption, JobNotFound, MediaNotFound
from bot.jobs import ImageRef

RESOURCE = "easel://job/"
IMAGE_RESOURCE = "easel://image/"
"""Of an image that is no picture of a job, such as a grid's sheet: its id follows."""
MAX_IMAGES = 32
_MEDIA_ID = re.compile(r"[0-9a-f]{64}")
_DATA_URL = re.compile(r"data:[a-z0-9.+/-]*(?:;[a-z0-9=.+-]+)*;base64,", re.IGNORECASE)
_WEB_URL = re.compile(r"\s*(https?|ftp)://", re.IGNORECASE)
_PATH = re.compile(r"file:|~|[A-Za-z]:[\\/]|.*\.", re.IGNORECASE)
"""No base64 has a `.`, a `~` or a `:`."""
_MAX_PATH = 4096
_DESCRIBED = ("role", "kind", "weight", "start", "end", "ready")
HOW = "Give an id, easel://job/ID/NUMBER, a data: URL or base64."
_OR_A_PATH = " Or give the absolute path of an image file."

ReadFile = Callable[[str], bytes]
"""Reads an image file of the caller's computer. Raises: EaselError."""


@dataclass(frozen=True)
class GivenImage:
    """`ref` describes the image, whose id is not known yet."""

    source: str = field(repr=False)
    ref: ImageRef


def parse_images(command: type[Command], given: Any) -> list[GivenImage]:
    """Raises: InvalidOption, ToolRefused."""
    if given is None:
        return []
    if not isinstance(given, list):
        given = [given]
    if len(given) > MAX_IMAGES:
        raise InvalidOption("images", "too_many_images", value=len(given), allowed=str(MAX_IMAGES))
    return [_parse_image(one, command.roles[0] if command.roles else "init") for one in given]


def _parse_image(given: Any, role: str) -> GivenImage:
    if isinstance(given, str):
        given = {"image": given}
    if not isinstance(given, dict) or not isinstance(given.get("image"), str):
        raise ToolRefused("Each of `images` is a text, or an object with the text `image`.")
    if unknown := [name for name in given if name not in ("image", *_DESCRIBED)]:
        raise InvalidOption(str(unknown[0]), "unknown", allowed=", ".join(("image", *_DESCRIBED)))
    said = {name: given[name] for name in _DESCRIBED if given.get(name) is not None}
    for name, value in said.items():
        _check_type(name, value)
    return GivenImage(given["image"].strip(), ImageRef("", **{"role": role, **said}))


def _check_type(name: str, value: Any) -> None:
    is_bool = isinstance(value, bool)
    if name in ("role", "kind"):
        is_valid, form = isinstance(value, str), "text"
    elif name == "ready":
        is_valid, form = is_bool, "yes or no"
    else:
        is_valid, form = isinstance(value, int | float) and not is_bool, "a number"
    if not is_valid:
        raise InvalidOption(name, "type", value=value, allowed=form)


async def find_images(
    backend: ToolBackend, images: Sequence[GivenImage], read_file: ReadFile | None
) -> tuple[ImageRef, ...]:
    """The images with their ids; those that come as data are stored. Raises: EaselError."""
    return tuple([await _find_image(backend, one, read_file) for one in images])


async def _find_image(backend: ToolBackend, given: GivenImage, read_file: ReadFile | None) -> ImageRef:
    source = given.source.removeprefix(IMAGE_RESOURCE)
    if _MEDIA_ID.fullmatch(source):
        return replace(given.ref, id=source)
    named = source.removeprefix(RESOURCE)
    if named != source or JOB_REF.fullmatch(source):
        job_id, number = parse_picture_name(named)
        found = await find_picture(backend, job_id, number)
        is_map = found.ready and given.ref.role == "control"
        kind = given.ref.kind or (found.kind if is_map else "")
        return replace(given.ref, id=found.id, kind=kind, ready=given.ref.ready or is_map)
    return replace(given.ref, id=await backend.upload_image(await _read_data(source, read_file)))


def require_media_id(text: str) -> str:
    """Raises: MediaNotFound."""
    if not _MEDIA_ID.fullmatch(text):
        raise MediaNotFound(text[:20])
    return text


def parse_picture_name(name: str) -> tuple[str, int]:
    """`k3x7.../2` as (job, 2); without a number, the first picture. Raises: JobNotFound."""
    found = JOB_REF.fullmatch(name.casefold())
    if found is None:
        raise JobNotFound(name[:20])
    return found[1], int(found[2] or 0)


async def find_picture(backend: ToolBackend, job_id: str, number: int) -> ImageRef:
    """One of a job's pictures, by its number; 0: the first. A map that `preview` made is ready to be a control.

    Raises: JobNotFound, ImageGone.
    """
    job = await backend.read_job(job_id)
    media = (job["result"] or {}).get("media", [])
    if not media:
        raise ToolRefused(f"Job {job['id']} has no images.")
    chosen = media[number - 1 : number] if number else [one for one in media if one is not None]
    if not chosen:
        raise ToolRefused(
            f"Job {job['id']} has {len(media)} image{'s' * (len(media) > 1)}: there is no number {number}."
        )
    if chosen[0] is None:
        raise ImageGone
    is_map = job["command"] == "preview" and job["options"].get("what") == "control"
    return ImageRef(chosen[0]["id"], kind=str(job["options"].get("kind") or "") if is_map else "", ready=is_map)


async def _read_data(source: str, read_file: ReadFile | None) -> bytes:
    if prefix := _DATA_URL.match(source):
        return await _decode(source[prefix.end() :])
    if _WEB_URL.match(source):
        raise ToolRefused(f"Images are not fetched from the web. {HOW}")
    if len(source) <= _MAX_PATH and _PATH.match(source):
        if read_file is None:
            raise ToolRefused(f"This server cannot read files of your computer. {HOW}")
        return await asyncio.to_thread(read_file, source)
    return await _decode(source, "" if read_file is None else _OR_A_PATH)


async def _decode(text: str, further: str = "") -> bytes:
    try:
        data = await asyncio.to_thread(base64.b64decode, "".join(text.split()).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError) as error:
        raise ToolRefused(f"An image in `images` cannot be read. {HOW}{further}") from error
    if not data:
        raise ToolRefused(f"An image in `images` is empty. {HOW}{further}")
    return data
