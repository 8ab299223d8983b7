"""Rewrites typer's usage errors as one sentence that suggests the fix."""

import difflib
import os
from collections.abc import Sequence
from typing import Any

import typer

from adapters.cli.output import program_name

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""Typer's usage error. It has no public name, and moved from click into typer."""


def explain_usage(error: Any, words: Sequence[str] = ()) -> str:
    """One sentence: what is wrong with the words that were typed, and what was probably meant."""
    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context else program_name()
    kind = type(error).__name__
    if kind == "NoSuchOption":
        known = [name[2:] for option in context.command.params for name in option.opts if name.startswith("--")]
        if file := next((word for word in words if word.startswith("-") and os.path.isfile(word)), None):
            return f"There is no option {error.option_name}. For the file, write {os.path.join(os.curdir, file)}."
        near = difflib.get_close_matches(error.option_name.lstrip("-"), [*known, "help"], 1)
        hint = f" Did you mean --{near[0]}?" if near else f" `{path} --help` lists the options."
        return f"There is no option {error.option_name}.{hint}"
    if kind == "MissingParameter" and error.param is not None:
        name = error.param.metavar or error.param.opts[-1]
        return f"{name} is missing. See `{path} --help`."
    if kind == "BadOptionUsage":
        return f"{error.option_name} needs a value."
    if kind == "UsageError" and "No such command" in error.message:
        return _no_such_command(error.message, context)
    if kind == "UsageError" and "Missing command" in error.message:
        return f"A command is missing. `{path} --help` lists them."
    message = error.format_message().rstrip(".").replace(": Value error, ", ": ")  # pydantic's words, of a choice
    return f"{message}. See `{path} --help`."


def _no_such_command(message: str, context: Any) -> str:
    typed = message.split("'")[1] if message.count("'") > 1 else ""
    known = list(getattr(context.command, "commands", {}))
    near = difflib.get_close_matches(typed, known, 1)
    hint = f" Did you mean {near[0]}?" if near else f" Commands: {', '.join(known)}."
    return f"There is no command {typed}.{hint}"
