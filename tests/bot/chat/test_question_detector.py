import pytest

from bot.chat.question_detector import is_question, is_remark


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


@pytest.mark.parametrize(
    "text",
    ["thanks!", "Thank you so much", "wow", "so cute!!", "haha nice one", "\U0001f44d", "\u2764\ufe0f !!",
     "ok, perfect", "LOL", "I love it", "great, thanks \U0001f600", "cool."],
)  # fmt: skip
def test_a_remark_asks_for_nothing(text):
    assert is_remark(text)


@pytest.mark.parametrize(
    "text",
    ["", "make it blue", "nice hat for the fox", "wow, what is that?", "perfect, but in blue", "cool colours",
     "danke", "1", "more", "thanks" * 200, "again", "\u66f4\u5927"],
)  # fmt: skip
def test_a_wish_is_no_remark(text):
    assert not is_remark(text)
