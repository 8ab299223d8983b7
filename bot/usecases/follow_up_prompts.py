"""Prompts and options of requests that follow up on a job's picture. Pure."""

from collections.abc import Mapping
from typing import Any

from bot.commands import Command
from bot.errors import InvalidOption
from bot.jobs import Job
from bot.options import MAX_SEED, has_flags, parse_text
from bot.prompts.grammar import prompt_at
from bot.usecases.job_images import picture_at


def prompt_of_picture(job: Job, picture: int) -> str:
    """Of one of the job's pictures, from 1; 0: of the first that is left."""
    shown = picture_at(job, picture)
    if "prompt" not in job.options:
        return ""
    return prompt_at(job.options, index_of_picture(job, max(picture, shown.number if shown else 1)))


def index_of_picture(job: Job, number: int) -> int:
    """Which of the job's images picture `number` is, from 0: those that were compared are in another order."""
    shown, first = job.result.find_picture(number) if job.result else None, job.options.get("seed")
    if shown is None or shown.seed is None or first is None:
        return number - 1
    return (shown.seed - int(first)) % (MAX_SEED + 1)


def parse_prompt(kind: type[Command], text: str, last: str) -> dict[str, Any]:
    """A typed prompt with its flags; flags alone change the options of the last prompt.

    They are words if the last prompt has some as words. Raises: InvalidOption.
    """
    if not has_flags(text) or has_flags(last):
        return {"prompt": text}
    try:
        return parse_text(kind.specs, text)
    except InvalidOption as error:
        if error.problem != "missing":
            raise
    return parse_text(kind.specs, f"{last} {text}")


def options_without(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}
