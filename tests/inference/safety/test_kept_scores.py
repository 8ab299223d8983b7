"""Images that show their input in another form are as adult as it is, whatever a classifier sees in them."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from bot.jobs import Media
from bot.models import IMAGE_CLASSIFICATION, ModelSpec
from bot.ports import SafetyRules, TaskImage
from inference.ipc.messages import RawImage
from inference.safety.checker import SafetyChecker
from tests.inference.support import make_task
from tests.moderation import SOME_WEIGHTS

CLASSIFIER = ModelSpec(name="classifier", tasks=(IMAGE_CLASSIFICATION,), repo=SOME_WEIGHTS)
RULES = SafetyRules(policy="spoiler", threshold=0.5)
LINES = RawImage(index=0, seed=0, pixels=bytes(8 * 8 * 3), width=8, height=8)


def redness(image):
    return image.getpixel((0, 0))[0] / 255


def make_image(role, colour):
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "PNG")
    return TaskImage(role, Media(out.getvalue(), "image/png"))


@pytest.fixture
def checker():
    return SafetyChecker([CLASSIFIER], lambda _spec: redness)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (RULES, 0.0),
        (replace(RULES, keeps_inputs=True), 1.0),
        (replace(RULES, input_score=0.7), 0.7),
        (None, None),
    ],
)
def test_the_score_of_what_is_shown_again_counts(checker, rules, expected):
    task = make_task(rules=rules, images=(make_image("init", "red"),))

    made = checker.score_output(task, LINES, checker.check_inputs(task))

    assert made.nsfw == expected


def test_a_mask_is_not_shown(checker):
    task = make_task(rules=replace(RULES, keeps_inputs=True), images=(make_image("mask", "white"),))

    assert checker.score_output(task, LINES, checker.check_inputs(task)).nsfw == 0.0


def test_the_score_of_an_input_does_not_make_up_for_a_check():
    checker = SafetyChecker([], lambda _spec: redness)
    task = make_task(rules=replace(RULES, may_be_unchecked=True, input_score=0.1))

    assert checker.score_output(task, LINES, checker.check_inputs(task)).nsfw is None
