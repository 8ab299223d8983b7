"""Which sentences ask for a picture, and what is offered under them."""

import time

import pytest

from bot.chat.buttons import Button, parse_button
from bot.chat.drawing_request import drawing_prompt
from bot.chat.offers import offer_drawing, offer_for_image, offered_request
from bot.models import (
    IMAGE_TEXT_TO_IMAGE,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ModelRegistry,
    ModelSpec,
)


def registry(*tasks: str) -> ModelRegistry:
    return ModelRegistry({"m": ModelSpec(name="m", tasks=tasks, repo="m")} if tasks else {})


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("draw me a cat", "a cat"),
        ("Draw a cat!", "a cat"),
        ("please draw us a red cat, please", "a red cat"),
        ("Hey Easel, can you draw a cat for me?", "a cat"),
        ("could you please paint the sea at night?", "the sea at night"),
        ("I'd like you to sketch a fox", "a fox"),
        ("make me a picture of a fox", "a fox"),
        ("Generate an oil painting of two foxes, thanks", "two foxes"),
        ("show me a photo of a fox", "a fox"),
        ("I want a picture of a fox in the snow.", "a fox in the snow"),
        ("imagine a fox", "a fox"),
        ("draw a picture of a fox", "a fox"),
        ("illustrate \u201ca fox\u201d", "a fox"),
        (", draw a cat", "a cat"),
        ("draw: a cat", "a cat"),
        ("let's draw something cute", "something cute"),
        ("draw one cat", "one cat"),
        ("draw lots of cats", "lots of cats"),
        ("draw your dream house", "your dream house"),
        ("generate a cat", "a cat"),
        ("sketch of a cat", "a cat"),
        ("a nice picture of a cat please", "a cat"),
        ("make a beautiful oil painting of a cat", "a cat"),
        ("Can I have a picture of a cat?", "a cat"),
        ("i'd love a photo of a cat", "a cat"),
    ],
)
def test_a_sentence_that_asks_for_a_picture_has_a_prompt(text, prompt):
    assert drawing_prompt(text) == prompt


@pytest.mark.parametrize(
    "text",
    [
        "", "hello", "?", "\U0001f98a", "draw", "draw me", "draw it again", "draw that", "make it brighter",
        "make me a sandwich", "show me my history", "give me a minute", "can you draw?", "how do you draw a cat?",
        "I like to draw cats", "what can you draw", "create an account", "imagine that", "drawing is fun",
        "the withdraw button", "Draw!", "draw what you like", "draw conclusions", "draw your own conclusions",
        "draw a conclusion", "draw the line", "draw attention to it", "draw from experience", "draw on this",
        "draw lots", "draw nothing", "draw something", "draw another one", "draw the same again", "draw please",
        "draw faster", "don't draw anything", "please do not draw a cat", "I drew a cat", "paint over it",
        "imagine being rich", "I saw a picture of a cat", "no photos of me", "this is a photo of my dog",
        "show me my picture of a cat", "do not make a picture of a cat", "give me the picture of job 12",
    ],
)  # fmt: skip
def test_other_sentences_have_none(text):
    assert drawing_prompt(text) == ""


@pytest.mark.parametrize("text", ["draw a " + "." * 1900, "please " * 280, "draw a cat" + " please" * 270, "x" * 10**6])
def test_odd_texts_are_read_in_no_time(text):
    before = time.process_time()
    drawing_prompt(text)

    assert time.process_time() - before < 0.1


@pytest.mark.parametrize(("tasks", "is_offered"), [((TEXT_TO_IMAGE,), True), ((IMAGE_TO_TEXT,), False), ((), False)])
def test_a_picture_is_offered_where_a_model_can_draw(tasks, is_offered):
    offer = offer_drawing("draw me a cat", registry(*tasks), "en")

    assert (offer is not None) is is_offered
    assert offer is None or "a cat" in offer.text
    assert offer_drawing("hello", registry(*tasks), "en") is None


EDIT, ASK = IMAGE_TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING


@pytest.mark.parametrize(
    ("tasks", "actions"),
    [((EDIT, ASK), ["edit", "ask"]), ((EDIT,), ["edit"]), ((ASK,), ["ask"]), ((TEXT_TO_IMAGE,), [])],
)
def test_under_a_picture_only_what_a_model_can_is_offered(tasks, actions):
    offer = offer_for_image("make it blue", registry(*tasks), "en")

    assert ([one.action for one in offer.buttons] if offer else []) == actions
    assert offer_for_image("what is it?", registry(*tasks), "en") is None
    assert offer_for_image("", registry(*tasks), "en") is None


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("draw me a cat", ("imagine", {"prompt": "a cat"})),
        ("hello", None),
        ("", None),
    ],
)
def test_a_button_stands_for_the_text_that_it_is_under(text, asked):
    offer = offer_drawing("draw me a cat", registry(TEXT_TO_IMAGE), "en")
    assert offer is not None
    button = parse_button(offer.buttons[0].encode())

    assert button == offer.buttons[0]
    assert offered_request(button, text) == asked


def test_a_forged_button_of_an_offer_stands_for_nothing():
    assert offered_request(Button("delete", "offeredinanswer2"), "draw me a cat") is None
    assert offered_request(Button("edit", "offeredinanswer2"), "") is None
