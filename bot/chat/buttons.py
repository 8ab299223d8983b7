"""The buttons under messages, and the few bytes that they carry.

A button carries an action and a job's id and nothing else, so buttons of any age work.
"""

import re
from dataclasses import dataclass

from bot.commands import answer_lines
from bot.jobs import ID_ALPHABET, ID_LENGTH, Job, JobState
from bot.models import IMAGE_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ModelRegistry

ACTIONS = ("cancel", "reroll", "vary", "upscale", "remix", "ask", "edit", "original", "delete", "show", "pick")
MAX_BYTES = 64
"""Telegram's limit for what a button carries."""
MAX_PICK = 25
EXAMPLES_ID = "welcomeexamples2"
"""Takes a job's place in the buttons of /start: `pick` then runs an example. No job has it: ids are random."""

_BUTTON = re.compile(rf"v1:({'|'.join(ACTIONS)}):([{ID_ALPHABET}]{{{ID_LENGTH}}})(?::([1-9][0-9]?))?")


@dataclass(frozen=True)
class Button:
    """`number` is a line of the answer (or an example), from 1, for `pick`; 0 for all others.

    A `show` button in a list is labelled with `number`, its job's place there, which it does not carry.
    """

    action: str
    job_id: str
    number: int = 0

    @property
    def is_example(self) -> bool:
        return self.action == "pick" and self.job_id == EXAMPLES_ID

    def encode(self) -> str:
        number = f":{self.number}" if self.action == "pick" else ""
        return f"v1:{self.action}:{self.job_id}{number}"


def parse_button(data: str) -> Button | None:
    """None: forged, truncated, or of another version."""
    match = _BUTTON.fullmatch(data)
    if match is None:
        return None
    action, job_id, number = match.group(1), match.group(2), int(match.group(3) or 0)
    if (action == "pick") != (number > 0) or number > MAX_PICK:
        return None
    return Button(action, job_id, number)


def offered_buttons(job: Job, models: ModelRegistry) -> tuple[Button, ...]:
    """The buttons for the job's message in its present state, in this order; only what an installed model can do."""
    return tuple(Button(action, job.id, number) for action, number in _offered_actions(job, models))


def _offered_actions(job: Job, models: ModelRegistry) -> list[tuple[str, int]]:
    if not job.state.is_final:
        return [("cancel", 0)]
    if job.state not in (JobState.RENDERED, JobState.DELIVERED) or job.result is None:
        return [("reroll", 0)]
    ask = [("ask", 0)] if models.default_for(VISUAL_QUESTION_ANSWERING) else []
    if job.result.media:
        reroll = [("reroll", 0)] if job.command != "upscale" else []
        vary = [("vary", 0)] if models.default_for(IMAGE_TO_IMAGE) else []
        return [*reroll, *vary, ("upscale", 0), *ask, ("original", 0), ("delete", 0)]
    lines = answer_lines(job.command, job.result.text)
    return [*(("pick", number) for number, _ in enumerate(lines[:MAX_PICK], 1)), *ask, ("delete", 0)]
