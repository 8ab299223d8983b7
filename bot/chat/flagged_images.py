"""The images of a request in a chat: which of the pictures there each flag is about."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from bot.commands import Command
from bot.commands.image_flags import ImageFlag, assign_images, flags_of
from bot.errors import InvalidOption
from bot.jobs import ImageRef, Origin
from bot.options import parse_text
from bot.ports import Person
from bot.usecases import UseCases
from bot.usecases.worded_images import split_flags

T = TypeVar("T")


def has_image_flags(kind: type[Command]) -> bool:
    return bool(flags_of(kind.roles[1:]))


def read_flags(kind: type[Command], line: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[ImageFlag]]:
    """The options with those of a line that has flags only, and its flags about images. Raises: InvalidOption."""
    rest, flags = split_flags(kind, line)
    typed = parse_text([spec for spec in kind.specs if not spec.is_main], rest)
    for name in typed:
        if name in options:
            raise InvalidOption(name, "twice")
    return {**options, **typed}, flags


def pictures_needed(kind: type[Command], flags: Sequence[ImageFlag]) -> int:
    """How many pictures there must be beside those of the flags."""
    return max(kind.images_needed, int(any(flag.role == "mask" for flag in flags)))


def count_open(flags: Sequence[ImageFlag]) -> int:
    """How many flags are about an attached or replied-to picture."""
    return sum(not flag.source for flag in flags)


def leave_out(kind: type[Command], flags: Sequence[ImageFlag], pictures: Sequence[T]) -> tuple[T, ...]:
    """The pictures without those that a command with these flags cannot take, before they are stored."""
    first = max(0, len(pictures) - count_open(flags))
    return (*pictures[:first][: max(1, kind.images_allowed)], *pictures[first:])


async def find_images(
    usecases: UseCases,
    person: Person,
    origin: Origin,
    kind: type[Command],
    flags: Sequence[ImageFlag],
    pictures: Sequence[ImageRef],
) -> tuple[ImageRef, ...]:
    """The images of a request with these flags; `pictures`: see `assign_images`. Raises: InvalidOption, JobNotFound,
    ImageGone."""
    found = await usecases.chat.sharing.find_named_images(person, origin, flags)
    role = kind.roles[0] if kind.roles else "init"
    pictures = [replace(one, role=role) if one.role == "init" else one for one in pictures]
    allowed = max(kind.images_allowed, kind.album_allowed)
    return assign_images(flags, found, pictures, needed=pictures_needed(kind, flags), allowed=allowed)
