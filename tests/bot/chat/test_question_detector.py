import pytest

from bot.chat.question_detector import is_question


@pytest.mark.parametrize(
    "text",
    [
        "What is it?", "what's that", "Whats on the left", "who painted this", "is it a cat", "Isn't it lovely",
        "how many dogs are there", "does it rain", "can you see a bird", "a fox?", "\u3053\u308c\u306f\u4f55\uff1f",
        "\u0645\u0627 \u0647\u0630\u0627\u061f", "\u00bfqu\u00e9 es", "describe the background", "tell me more",
        "  Where ...", "what\u2019s this",
        "Count the birds.", "wow, what is that? :)",
    ],
)  # fmt: skip
def test_a_question_is_recognised(text):
    assert is_question(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "make it blue", "add a hat", "a fox in the snow", "don't show people", "Do not crop it",
        "whatever works", "island view", "howling wolves", "cantaloupes", "do the same in blue", "have a bigger sky",
        "willow trees", "areas of light", "now as a watercolour", "red", "counter-clockwise", "nice!",
    ],
)  # fmt: skip
def test_a_wish_is_no_question(text):
    assert not is_question(text)
