"""Command lines that the docs show, held against what the command line takes."""

from collections.abc import Sequence
from typing import Any

import typer

from adapters.cli.app import build_cli
from composition.local import Composition


def assert_exists(words: Sequence[str]) -> None:
    """`words`: what stands after `easel`. The command is there, and takes the options that are given."""
    command: Any = typer.main.get_command(build_cli(Composition()))
    rest = list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    assert not hasattr(command, "commands"), words
    options = {name for param in command.params for name in param.opts}
    assert {word for word in rest if word.startswith("--")} <= options
