"""Which arguments of a command line are input images, and which are its text."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.cli.error_output import BadInput
from adapters.cli.image_files import STDIN, read_image_file, reason_of
from adapters.cli.output import printable, program_name
from bot.chat.file_types import IMAGE_ENDINGS
from bot.commands import Command
from bot.errors import EaselError
from bot.options import OptionSpec

if TYPE_CHECKING:
    from bot.settings.core import ImagesSettings


@dataclass(frozen=True)
class InputFile:
    """One input image, or the reason why there is none. `data` is read already: that of a stream."""

    name: str
    error: EaselError | None = None
    data: bytes | None = None


def arguments_metavar(command_class: type[Command]) -> str:
    """How the arguments of a command for several images are written in its help."""
    spec = _main_spec(command_class)
    if spec is None:
        return "IMAGE"
    name = _argument_name(spec)
    return f"IMAGE... {name if spec.is_required else f'[{name}]'}"


def split_arguments(command_class: type[Command], arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The images, and the values of the main option. Raises: BadInput: one of them is missing."""
    images, texts = _split(_main_spec(command_class), list(arguments))
    spec = _main_spec(command_class)
    if not images:
        raise _missing("IMAGE...", command_class)
    if spec is not None and spec.is_required and not texts:
        raise _missing_text(spec, command_class, images)
    return images, texts


def _split(spec: OptionSpec | None, arguments: list[str]) -> tuple[list[str], list[str]]:
    if spec is None or len(arguments) < 2:
        return arguments, []
    if spec.separator:
        first = next((n for n, word in enumerate(arguments) if n and not _may_be_image(word)), len(arguments))
        return arguments[:first], arguments[first:]
    is_image = (_is_image_name if spec.is_required else _may_be_image)(arguments[-1])
    return (arguments, []) if is_image else (arguments[:-1], arguments[-1:])


def _main_spec(command_class: type[Command]) -> OptionSpec | None:
    return next((spec for spec in command_class.specs if spec.is_main), None)


def _argument_name(spec: OptionSpec) -> str:
    return spec.name.upper() + "..." * bool(spec.separator)


def _missing(name: str, command_class: type[Command]) -> BadInput:
    return BadInput(f"{name} is missing. See `{program_name()} {command_class.name} --help`.")


def _missing_text(spec: OptionSpec, command_class: type[Command], images: Sequence[str]) -> BadInput:
    words = [word for word in images[1:] if word != STDIN and not _is_image_name(word)]
    if not spec.separator or not words:
        return _missing(_argument_name(spec), command_class)
    line = f" {spec.separator} ".join([*words, "..."])
    return BadInput(f'{words[0]} is also a file or folder here: write the texts in one argument, as in "{line}".')


def _may_be_image(word: str) -> bool:
    return word == STDIN or _is_image_name(word) or os.path.lexists(word)


def _is_image_name(word: str) -> bool:
    """By its ending; a folder is written with a slash at its end."""
    return word.endswith(("/", os.sep)) or Path(word).suffix.lower() in IMAGE_ENDINGS


def is_several(images: Sequence[str]) -> bool:
    """Whether the images are a folder, or more than one file."""
    return len(images) > 1 or os.path.isdir(images[0])


def expand_folders(images: Sequence[str]) -> list[InputFile]:
    """Every file, and of every folder the images directly in it, by name."""
    return [one for name in images for one in (_list_folder(name) if os.path.isdir(name) else [InputFile(name)])]


def list_files(images: Sequence[str]) -> list[str]:
    """The same as names. Raises: EaselError: a folder that has none."""
    files = expand_folders(images)
    for file in files:
        if file.error is not None:
            raise file.error
    return [file.name for file in files]


def read_streams(files: Sequence[InputFile], limits: "ImagesSettings") -> list[InputFile]:
    """Read standard input and pipes; called outside the event loop, where Ctrl-C interrupts it."""
    return [_read_file(file, limits) if file.error is None and _is_stream(file.name) else file for file in files]


def _is_stream(name: str) -> bool:
    return name == STDIN or (os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name))


def _read_file(file: InputFile, limits: "ImagesSettings") -> InputFile:
    try:
        return InputFile(file.name, data=read_image_file(file.name, limits.max_upload_mb, limits.max_heic_mb))
    except EaselError as error:
        return InputFile(file.name, error)


def _list_folder(folder: str) -> list[InputFile]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        return [InputFile(folder, BadInput(f"{printable(folder)} cannot be read: {reason_of(error)}."))]
    images = [name for name in names if Path(name).suffix.lower() in IMAGE_ENDINGS and not name.startswith(".")]
    if not images:
        return [InputFile(folder, BadInput(f"{printable(folder)} has no images."))]
    return [InputFile(os.path.join(folder, name)) for name in images]
