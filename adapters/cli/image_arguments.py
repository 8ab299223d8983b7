"""The input images of a command line: files, or pictures of the person's own jobs, and what is said about each."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adapters.cli.error_output import BadInput, Failure
from adapters.cli.image_files import STDIN, read_image_file
from adapters.cli.output import printable
from bot.commands import Command
from bot.commands.image_flags import (
    JOB_REF,
    MASK,
    ImageFlag,
    flags_of,
    parse_image_flag,
    parse_job_ref,
    split_numbers,
)
from bot.error_texts import explain
from bot.errors import ImageGone
from bot.jobs import ImageRef
from bot.models import CONTROL_KINDS

if TYPE_CHECKING:
    from adapters.cli.client.types import JobClient
    from adapters.cli.views import JobBody
    from bot.settings.core import ImagesSettings


@dataclass(frozen=True)
class ImageArgument:
    """`flag`: what is said about it, and its source; `is_job`: that is a job."""

    flag: ImageFlag
    is_job: bool = False

    @property
    def source(self) -> str:
        return self.flag.source

    @property
    def ref(self) -> ImageRef:
        """The image, whose id is not known yet."""
        return self.flag.describe(ImageRef(""))


def image_arguments(
    command_class: type[Command], files: Sequence[str], mask: str, given: Mapping[str, Any]
) -> tuple[ImageArgument, ...]:
    """The images in the order of their roles. Raises: InvalidOption, BadInput."""
    role = command_class.roles[0] if command_class.roles else ""
    arguments = [ImageArgument(ImageFlag(name="image", role=role, source=name)) for name in files]
    arguments += [_argument(ImageFlag(name="mask", role=MASK.role, source=mask))] if mask else []
    for spec in flags_of(command_class.roles[1:]):
        for value in given.get(spec.name.replace("-", "_")) or ():
            flag = parse_image_flag(spec, value, lambda rest: split_numbers(rest, _is_file))
            if not flag.source:
                raise BadInput(f"--{spec.name} needs an image file, or a job of yours.")
            arguments.append(_argument(flag))
    return tuple(arguments)


def _argument(flag: ImageFlag) -> ImageArgument:
    """A source that is no file may be a job."""
    folded = flag.source.lower()
    if not _is_file(flag.source) and JOB_REF.fullmatch(folded):
        return ImageArgument(replace(flag, source=folded), is_job=True)
    return ImageArgument(flag)


def _is_file(name: str) -> bool:
    return name == STDIN or os.path.lexists(name)


def read_images(arguments: Sequence[ImageArgument], limits: "ImagesSettings") -> dict[str, bytes]:
    """The files by their names; called outside the event loop, where Ctrl-C interrupts reading stdin.

    Raises: BadInput, TooLarge, UnsupportedMedia.
    """
    names = dict.fromkeys(one.source for one in arguments if not one.is_job)
    return {name: read_image_file(name, limits.max_upload_mb, limits.max_heic_mb) for name in names}


async def find_images(
    client: "JobClient", arguments: Sequence[ImageArgument], files: Mapping[str, bytes]
) -> tuple[ImageRef, ...]:
    """Upload the files, each once, and find the pictures of jobs. Raises: EaselError."""
    uploaded = {name: await client.upload_image(data) for name, data in files.items()}
    images = []
    for one in arguments:
        image = await _image_of_job(client, one.source) if one.is_job else ImageRef(uploaded[one.source])
        images.append(one.flag.describe(image))
    return tuple(images)


async def _image_of_job(client: "JobClient", source: str) -> ImageRef:
    """One of a job's pictures; a map that `preview` made is one already."""
    job_id, number = parse_job_ref(source)
    job = await client.read_job(job_id)
    media = (job["result"] or {}).get("media", [])
    chosen = media[number - 1 : number] if number else [one for one in media if one is not None]
    if not media:
        raise Failure(f"Job {printable(job['id'])} has no pictures.", code="not_found")
    if not chosen or chosen[0] is None:
        raise Failure(explain(ImageGone()), code="not_found")
    return ImageRef(chosen[0]["id"], kind=_map_kind(job), ready=bool(_map_kind(job)))


def _map_kind(job: "JobBody") -> str:
    options = job["options"]
    is_map = job["command"] == "preview" and options.get("what") == "control"
    return str(options["kind"]) if is_map and options.get("kind") in CONTROL_KINDS else ""
