"""The buttons under a job's message, and the few bytes that they carry.

A button knows a job and nothing else, so one of last year works as one of today does.
"""

import re
from dataclasses import dataclass

from bot.jobs import ID_ALPHABET, ID_LENGTH, Job, JobState
from bot.models import IMAGE_TO_IMAGE, VISUAL_QUESTION_ANSWERING, Models

ACTIONS = ("cancel", "reroll", "vary", "upscale", "remix", "ask", "edit", "original", "delete", "pick")
MAX_BYTES = 64
"""Telegram's limit for what a button carries."""
MAX_PICK = 25

_BUTTON = re.compile(rf"v1:({'|'.join(ACTIONS)}):([{ID_ALPHABET}]{{{ID_LENGTH}}})(?::([1-9][0-9]?))?")


@dataclass(frozen=True)
class Button:
    """`number` is a line of the answer, from 1, for `pick`; 0 for all others."""

    action: str
    job_id: str
    number: int = 0

    def encode(self) -> str:
        number = f":{self.number}" if self.action == "pick" else ""
        return f"v1:{self.action}:{self.job_id}{number}"


def parse_button(data: str) -> Button | None:
    """None: forged, cut, or of another version."""
    match = _BUTTON.fullmatch(data)
    if match is None:
        return None
    action, job_id, number = match.group(1), match.group(2), int(match.group(3) or 0)
    if (action == "pick") != (number > 0) or number > MAX_PICK:
        return None
    return Button(action, job_id, number)


def buttons_of(job: Job, models: Models) -> tuple[Button, ...]:
    """What makes sense under the job's message now, in this order; what no model here can do is left out."""
    return tuple(Button(action, job.id, number) for action, number in _offered(job, models))


def _offered(job: Job, models: Models) -> list[tuple[str, int]]:
    if not job.state.is_final:
        return [("cancel", 0)]
    if job.state not in (JobState.RENDERED, JobState.DELIVERED) or job.result is None:
        return [("reroll", 0)]
    ask = [("ask", 0)] if models.default_for(VISUAL_QUESTION_ANSWERING) else []
    if job.result.media:
        reroll = [("reroll", 0)] if job.command != "upscale" else []
        vary = [("vary", 0)] if models.default_for(IMAGE_TO_IMAGE) else []
        return [*reroll, *vary, ("upscale", 0), *ask, ("original", 0), ("delete", 0)]
    lines = (job.result.text or "").splitlines() if job.command == "describe" else []
    return [*(("pick", number) for number, _ in enumerate(lines[:MAX_PICK], 1)), *ask, ("delete", 0)]
