"""Which examples test an adapter, what counts as right, and what its report card shows."""

from collections import Counter
from pathlib import Path

import pytest

from bot import ports
from inference.learning.held_out import is_right, split_examples
from inference.learning.replay import ReplayText, choose_replayed, old_questions
from inference.learning.report_card import choose_examples
from inference.learning.training_folder import Example


def example(number, answer="a fox", question="what is this ?", image=""):
    return Example(f"{number}.png", Path(f"{number}.png"), question, answer, number, image or f"image {number}")


@pytest.mark.parametrize(
    ("expected", "answer", "right"),
    [
        ("a lynx", "Lynx.", True),
        ("a lynx", "a fox", False),
        ("the red fox", "a red fox", True),
        ("a fox on a red background", "a fox on a blue background", False),
        ("two people are sitting on a bench in a park", "two people sitting on a park bench", True),
        ("two people are sitting on a bench in a park", "a train at the station of a large city", False),
        ("the", "the", True),
        ("", "", True),
        ("", "a fox", False),
        ("狐狸", "狐狸", True),
    ],
)
def test_an_answer_is_right_by_its_words(expected, answer, right):
    assert is_right(expected, answer) is right


def test_a_fifth_of_each_answer_is_held_out():
    examples = [example(number, f"answer {number % 20}") for number in range(400)]

    trained, tested = split_examples(examples, 0)

    assert Counter(one.answer for one in tested) == {f"answer {number}": 4 for number in range(20)}
    assert len(trained) == 320
    assert split_examples(examples, 0) == (trained, tested)
    assert split_examples(examples, 1)[1] != tested


def test_an_image_with_all_its_questions_is_on_one_side():
    examples = [
        example(number, f"answer {number}", question, image=f"image {number}")
        for number in range(10)
        for question in ("what is this ?", "what color is it ?")
    ]

    trained, tested = split_examples(examples, 0)

    assert {one.image for one in trained}.isdisjoint(one.image for one in tested)
    assert len(tested) == 4


@pytest.mark.parametrize("count", [8, 9, 12, 40])
@pytest.mark.parametrize("answers", [1, 2, 8, 40])
def test_both_sides_have_examples(count, answers):
    trained, tested = split_examples([example(number, f"answer {number % answers}") for number in range(count)], 0)

    assert len(tested) >= max(1, round(0.2 * count))
    assert len(trained) >= count // 2


@pytest.mark.parametrize("images", [15, 20, 60])
def test_at_least_a_hundred_old_questions_are_asked(images):
    questions = old_questions(images, ["what is this?", "which pump is it?"])

    assert images * len(questions) >= 100
    assert len(questions) == len(set(questions))
    assert "which pump is it?" in questions


def test_old_answers_that_are_to_change_are_not_replayed():
    texts = [
        ReplayText(1, "what is this?", "a star"),
        ReplayText(1, "", "a star on red"),
        ReplayText(1, "what color is the background?", "red"),
        ReplayText(1, "where is it?", ""),
        ReplayText(2, "what is this?", "a star"),
    ]

    assert choose_replayed(texts, {1: {"What is this?"}}) == [texts[2], texts[4]]


def answered(number, before, after, *, is_new=True, expected="a fox"):
    return ports.TestedExample(
        file=f"{number}.png", question="", expected=expected, before=before, after=after, is_new=is_new
    )


def test_ten_examples_show_what_was_learned_lost_and_missed():
    learned = [answered(number, "a cat", f"a {number}", expected=f"a {number % 3}") for number in range(3)]
    learned += [answered(number, "a cat", "a 0", expected="a 0") for number in range(3, 30)]
    lost = [answered(number, "a fox", "a cat", is_new=False) for number in range(40, 50)]
    missed = [answered(number, "a cat", "a dog") for number in range(60, 70)]
    kept = [answered(number, "a fox", "a fox", is_new=False) for number in range(80, 90)]

    shown = choose_examples([*kept, *missed, *lost, *learned])

    assert len(shown) == 10
    assert {one.after for one in shown[:3]} == {"a 0", "a 1", "a 2"}
    assert [sum(one in part for one in shown) for part in (learned, lost, missed, kept)] == [4, 3, 3, 0]


def test_few_examples_are_all_shown():
    assert len(choose_examples([answered(1, "a cat", "a fox"), answered(2, "a fox", "a fox", is_new=False)])) == 2
