"""A question about several images: one answer from a model that sees them together, else a refusal or a line each."""

from dataclasses import replace

import pytest

from bot.commands import Ask
from bot.commands.ask import images_per_question
from bot.commands.defaults import apply_defaults
from bot.error_texts import explain
from bot.errors import InvalidOption
from bot.jobs import ImageRef
from bot.models import IMAGE_TEXT_TO_TEXT, IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING, ModelRegistry
from tests.fakes import make_model

TASKS = (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)
BLIP = make_model(name="blip", tasks=TASKS)
CHAT = make_model(name="gemma", tasks=(IMAGE_TEXT_TO_TEXT, *TASKS), max_images=4)


def ask(count, *, is_album=False, **values):
    images = [ImageRef(f"{number:064x}") for number in range(count)]
    return Ask.from_options({"question": "what?", **values}, images, is_album=is_album)


def registry(*models):
    return ModelRegistry({model.name: model for model in models})


@pytest.mark.parametrize(
    ("count", "models", "sentence"),
    [
        (1, (BLIP,), ""),
        (2, (BLIP,), "The model “blip” sees one picture at a time: ask about each of them alone."),
        (
            2,
            (BLIP, CHAT),
            "The model “blip” sees one picture at a time: ask about each of them alone, or choose the model gemma.",
        ),
        (5, (BLIP, CHAT), "The model “blip” sees one picture at a time: ask about each of them alone."),
        (4, (CHAT, BLIP), ""),
        (5, (CHAT, BLIP), "5 pictures are too many; the limit here is 4."),
    ],
)
def test_how_many_images_a_question_may_have_is_the_models_matter(count, models, sentence):
    if not sentence:
        assert ask(count).choose_model(registry(*models)) is models[0]
        return
    with pytest.raises(InvalidOption) as refused:
        ask(count).choose_model(registry(*models))

    assert explain(refused.value) == sentence


def test_an_album_gets_a_line_for_each_image_from_a_model_that_sees_one_and_one_answer_from_others():
    album = ask(3, is_album=True)
    costs = {}
    for model in (BLIP, CHAT):
        assert album.choose_model(registry(model)) is model
        command = album.for_model(model)
        costs[model.name] = command.work_units(command.fill_options(model, 1))[0]

    assert costs == {"blip": 3 * BLIP.max_new_tokens, "gemma": CHAT.max_new_tokens}


def test_a_default_model_that_sees_one_image_gives_way_to_one_that_sees_several():
    command = apply_defaults(ask(2), {"model": "blip", "max_new_tokens": 9}, registry(CHAT, BLIP))

    assert command.values == {"question": "what?", "max_new_tokens": 9}


@pytest.mark.parametrize(
    ("model", "most"),
    [
        (BLIP, 1),
        (replace(BLIP, max_images=4), 1),
        (CHAT, 4),
        (replace(CHAT, max_images=1), 10),
        (replace(CHAT, max_images=99), 10),
        (replace(CHAT, tasks=(IMAGE_TEXT_TO_TEXT, IMAGE_TO_TEXT)), 1),
    ],
)
def test_the_number_of_images_is_the_configs_else_what_every_model_that_chats_takes(model, most):
    assert images_per_question(model) == most


def test_more_images_than_any_model_sees_are_refused_before_one_is_chosen():
    with pytest.raises(InvalidOption, match="11"):
        ask(11)
