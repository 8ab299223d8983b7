"""The tasks of other models that a job needs beside its own, for its price. Pure.

`bot.queue.task_runner` runs them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.commands.base import Command
from bot.models import ModelRegistry, ModelSpec


@dataclass(frozen=True, kw_only=True)
class Part:
    """`units`: see `Command.work_units`."""

    model: ModelSpec
    units: tuple[int, float, int]


def parts_of(command: Command, options: Mapping[str, Any], models: ModelRegistry) -> list[Part]:
    """Raises: NoModel: no installed model can do what an option asks for."""
    return []
