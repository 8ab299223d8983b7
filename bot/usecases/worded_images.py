"""Flags about images in the words of a follow-up. Those that name no job are about the picture that it follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.commands import Command
from bot.commands.image_flags import MASK, ImageFlag, pop_image_flags
from bot.errors import InvalidOption
from bot.jobs import ImageRef, Job, Origin
from bot.options import has_flags
from bot.ports import Person
from bot.usecases.follow_up_prompts import parse_prompt
from bot.usecases.image_sharing import ImageSharing
from bot.usecases.job_images import image_at


def split_flags(kind: type[Command], line: str) -> tuple[str, list[ImageFlag]]:
    """A typed line without its flags about images, and these. Raises: InvalidOption."""
    more = (MASK,) if "mask" in kind.further_images else ()
    return pop_image_flags(kind.roles[1:], line, more=more)


@dataclass(frozen=True)
class FollowUpWords:
    """What somebody typed about a picture: a prompt or an instruction, with flags. `last`: the prompt before."""

    kind: type[Command]
    text: str
    last: str = ""

    async def read(
        self, sharing: ImageSharing, person: Person, origin: Origin, job: Job, picture: int
    ) -> tuple[dict[str, Any], tuple[ImageRef, ...]]:
        """The options, as `parse_prompt` reads them, and the images of the flags.

        Raises: InvalidOption, JobNotFound, ImageGone.
        """
        if has_flags(self.last) or not has_flags(self.text):
            return parse_prompt(self.kind, self.text, self.last), ()
        words, flags = split_flags(self.kind, self.text)
        if not flags:
            return parse_prompt(self.kind, self.text, self.last), ()
        found = await sharing.find_named_images(person, origin, flags)
        images = _describe_images(flags, found, image_at(job, picture))
        return parse_prompt(self.kind, words or self.last, self.last), images


def _describe_images(
    flags: Sequence[ImageFlag], found: Mapping[int, ImageRef], followed: ImageRef
) -> tuple[ImageRef, ...]:
    """The image of each flag. `found`: those of flags that name a job, by the flag's place. Raises: InvalidOption."""
    if any(flag.role == "mask" and place not in found for place, flag in enumerate(flags)):
        raise InvalidOption("mask", "mask_missing")  # no picture is its own mask
    return tuple(flag.describe(found.get(place, followed)) for place, flag in enumerate(flags))


def replace_images(images: Sequence[ImageRef], flagged: Sequence[ImageRef]) -> tuple[ImageRef, ...]:
    """A job's images with those of flags, which replace any of the same role and kind."""
    replaced = {(image.role, image.kind) for image in flagged}
    return (*(image for image in images if (image.role, image.kind) not in replaced), *flagged)
