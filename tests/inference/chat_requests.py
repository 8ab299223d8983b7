"""Requests for models that chat, and their engines with tiny models."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from bot.models import IMAGE_TEXT_TO_TEXT, IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING
from bot.ports import Task
from inference.engine.base import build_engine
from tests.inference.support import make_model
from tests.inference.tiny_chat import save_chat
from tests.inference.vision_reference import make_request, plain_image

TASKS = (IMAGE_TEXT_TO_TEXT, IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)
THREAD = ({"question": "what is this ?", "answer": "a fox"},)


def make_loader(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Returns a function of a family, whose engine is loaded when first asked for."""
    made: dict[Any, Any] = {}

    def engine(family: str, **settings: Any) -> Any:
        key = (family, *settings.items())
        if key not in made:
            folder = tmp_path_factory.mktemp("chat") / family
            made[key] = build_engine(make_model(tasks=TASKS, repo=str(save_chat(folder, family)), **settings))
            made[key].load_model("cpu")
        return made[key]

    return engine


def ask(
    question: str = "what is this ?",
    *colours: str,
    id: str = "job",
    thread: Sequence[Mapping[str, str]] = (),
    **options: Any,
) -> Task:
    """About an image of each colour."""
    request = make_request(question, id=id, thread=thread, **options)
    images = tuple(plain_image(colour) for colour in colours or ("red",))
    return dataclasses.replace(request, images=images)
