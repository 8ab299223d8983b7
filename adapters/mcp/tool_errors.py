"""Errors of tool calls as one sentence. Nothing else reaches the program that called, its log or the terminal."""

import secrets
import traceback

import structlog

from bot import errors
from bot.error_texts import explain

log = structlog.get_logger()

_IMAGES_ARE_GIVEN = {
    "needs_image": "This needs an image: give it in `images`.",
    "needs_images": "This needs {allowed} images or more: give them in `images`.",
    "needs_init": "{option} only works with an input image: give it in `images`, or leave {option} out.",
}
"""By problem, where the sentences of the chats speak of attachments."""


class ToolRefused(errors.EaselError):
    """What the tools themselves refuse."""

    code = "invalid_option"

    def __init__(self, sentence: str) -> None:
        super().__init__()
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


def error_sentence(error: BaseException) -> str:
    """The sentence for a person. An error that is not Easel's is logged by its kind and place, without its text."""
    sentence = getattr(error, "sentence", None)
    if isinstance(error, errors.EaselError) and isinstance(sentence, str):
        return sentence
    if isinstance(error, errors.InvalidOption) and error.problem in _IMAGES_ARE_GIVEN:
        return _IMAGES_ARE_GIVEN[error.problem].format(option=error.option, allowed=error.allowed)
    if isinstance(error, errors.UserError):
        return explain(error)
    incident = secrets.token_hex(4)
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    log.error("A tool call failed", action="mcp.failed", incident=incident, error=type(error).__name__, place=place)
    return explain(errors.EaselError(), incident=incident)
