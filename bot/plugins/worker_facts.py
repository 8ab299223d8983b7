"""What the worker's hooks are told about the image that they are called for. Without person, platform or token."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """One task of a job on a device.

    Attributes:
        command: its name, such as "imagine" or "edit".
        model: its name in the config.
        options: every option filled in, by its REST name: `prompt`, `steps`, `width`, `height`, ... Read-only.
        is_part: it makes something that the job needs, such as a detail that is remade; False: the job's own images.
    """

    command: str
    model: str
    options: Mapping[str, Any]
    is_part: bool = False


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """One image of a task: its number from 0, and the seed that generates it alone."""

    task: TaskFacts
    index: int
    seed: int
