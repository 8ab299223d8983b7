"""A task as the messages of a chat. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bot.commands.generation_options import DETAILED, SHORT
from bot.models import VISUAL_QUESTION_ANSWERING
from bot.ports import Task

CAPTIONS: Mapping[str, str] = {
    "": "Describe this picture in one sentence.",
    SHORT: "Describe this picture in a few words.",
    DETAILED: "Describe this picture in detail, in one paragraph.",
}
"""By preset."""
ANSWERS: Mapping[str, str] = {SHORT: " Answer in a few words.", DETAILED: " Answer in detail."}
"""What is added to a question, by preset."""
DESCRIPTION = (
    "Describe this picture in one line, as a prompt from which an image model could paint it: what it shows, how it is "
    "composed, its colours and its style. Answer with the prompt alone."
)
RANK_QUESTION = 'Does this picture show "{text}"? Answer with yes or no.'
IMAGE: Mapping[str, str] = {"type": "image"}
"""Stands for the next image of the task."""

Message = dict[str, Any]
"""Of Transformers' chat templates: {"role": ..., "content": [{"type": "text", "text": ...}, ...]}."""


def conversation_of(task: Task, image_count: int) -> list[Message]:
    """The thread so far and what is asked now, about so many images, which the first message shows."""
    turns = [(str(turn["question"]), str(turn["answer"])) for turn in task.options.get("thread") or ()]
    questions = [question for question, _ in turns] + [instruction_of(task)]
    messages: list[Message] = []
    for number, question in enumerate(questions):
        images = [dict(IMAGE)] * image_count if number == 0 else []
        messages.append({"role": "user", "content": [*images, _text(question)]})
        if number < len(turns):
            messages.append({"role": "assistant", "content": [_text(turns[number][1])]})
    return messages


def instruction_of(task: Task) -> str:
    """What the model is asked now."""
    preset = str(task.options.get("preset") or "")
    if task.task == VISUAL_QUESTION_ANSWERING:
        return str(task.options["question"]).strip() + ANSWERS.get(preset, "")
    given = str(task.options.get("prompt") or "").strip()
    return given or (DESCRIPTION if task.answers == "lines" else CAPTIONS.get(preset, CAPTIONS[""]))


def ranking_of(text: str) -> list[Message]:
    """Whether one image shows the text."""
    return [{"role": "user", "content": [dict(IMAGE), _text(RANK_QUESTION.format(text=text))]}]


def without_oldest_turn(messages: Sequence[Message]) -> list[Message]:
    """The same question with a turn less before it; the images move to the message that is now first."""
    images = [part for part in messages[0]["content"] if part["type"] == "image"]
    rest = list(messages[2:])
    return [{**rest[0], "content": [*images, *rest[0]["content"]]}, *rest[1:]]


def spell_markers(messages: Sequence[Message], markers: Iterable[str]) -> list[Message]:
    """The messages with each marker of the model that a person has typed as words: it would stand for an image, or end
    the message."""
    known = [bare for bare in (marker.strip() for marker in markers) if len(bare) > 1]  # spaces apart, it never ends
    return [
        {
            **message,
            "content": [_spelled(part, known) if part["type"] == "text" else part for part in message["content"]],
        }
        for message in messages
    ]


def _spelled(part: Mapping[str, str], markers: Sequence[str]) -> dict[str, str]:
    text = part["text"]
    while found := [marker for marker in markers if marker in text]:
        for marker in found:
            text = text.replace(marker, f"{marker[0]} {marker[1:]}")
    return {**part, "text": text}


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
