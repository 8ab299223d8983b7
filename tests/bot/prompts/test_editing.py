"""Prompt editing and alternation: which text each step has, in SD.Next's readings."""

import time
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.prompts.editing import MAX_CHOICES, parse_edits


def schedule(prompt: str, steps: int = 10) -> list[tuple[int, str]]:
    """The texts with the last step of each, as A1111 and SD.Next write them."""
    texts = parse_edits(prompt).texts_by_step(steps)
    return [(max(step for step, _ in group), text)
            for text, group in groupby(enumerate(texts, 1), key=lambda one: one[1])]  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("test", [(10, "test")]),
        ("a [b:3]", [(3, "a "), (10, "a b")]),
        ("a [b: 3 ]", [(3, "a "), (10, "a b")]),
        ("a [:b:.5] c", [(5, "a  c"), (10, "a b c")]),
        ("a [b::0.5]", [(5, "a b"), (10, "a ")]),
        ("a [::0.5]", [(10, "a ")]),
        ("a [[[b]]:2]", [(2, "a "), (10, "a [[b]]")]),
        ("[(a:2):3]", [(3, ""), (10, "(a:2)")]),
        ("a [b : c : 1] d", [(1, "a  b  d"), (10, "a  c  d")]),
        ("a[b:[c:d:2]:1]e", [(1, "abe"), (2, "ace"), (10, "ade")]),
        ("([a:b:0.5]:1.3)", [(5, "(a:1.3)"), (10, "(b:1.3)")]),
        ("[a:b:0]", [(10, "b")]),
        ("[a:b:-1]", [(10, "b")]),
        ("[a:b:1.0]", [(1, "a"), (10, "b")]),
        ("[a:b:99]", [(10, "a")]),
        ("[a:b:5e-1]", [(5, "a"), (10, "b")]),
        ("[a:b:" + "9" * 400 + "]", [(10, "a")]),
        (r"[a\:b:c:.5]", [(5, r"a\:b"), (10, "c")]),
        ("a [unbalanced", [(10, "a [unbalanced")]),
        ("((a][:b:c [d:3]", [(3, "((a][:b:c "), (10, "((a][:b:c d")]),
        (":( [a:b:.5] :)", [(5, ":( a :)"), (10, ":( b :)")]),
        (r"\[a:b:.5\]", [(10, r"\[a:b:.5\]")]),
    ],
)
def test_an_edit_changes_the_text_after_its_step(prompt, expected):
    assert [(step, text.replace("  ", " ")) for step, text in schedule(prompt)] == [
        (step, text.replace("  ", " ")) for step, text in expected
    ]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("[a|(b:1.1)]", ["a", "(b:1.1)", "a", "(b:1.1)"]),
        ("[a|b|c] x", ["a x", "b x", "c x", "a x"]),
        ("[a|]", ["a", "", "a", ""]),
        ("[a|[b|c]]", ["a", "c", "a", "c"]),
        ("[[a|b]:c:0.5]", ["a", "b", "c", "c"]),
    ],
)
def test_alternatives_take_turns_step_by_step(prompt, expected):
    assert parse_edits(prompt).texts_by_step(4) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "[a:b:c:.5]",
        "[a:b:x]",
        "[a:b]",
        "[a:b:३]",
        "[a:b:0,5]",
        "[a|b:.5]",
        "[a :) :b:.5]",
        "[(a|b):c:.5]",
        "[[a:b:x]:c:.5]",
    ],
)
def test_what_only_looks_like_an_edit_is_text_and_can_be_named(prompt):
    read = parse_edits(f"x {prompt} y")

    assert read.texts_by_step(3) == [f"x {prompt} y"] * 3
    assert read.misread == [prompt]


@pytest.mark.parametrize("prompt", ["[a]", "(a:1.2)", r"\[a:b\]", "a: b | c", "[a:b:.5] [c|d]"])
def test_other_brackets_are_not_named(prompt):
    assert parse_edits(prompt).misread == []


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a [cat:dog:0.5] here", "a cat dog here"),
        ("a [cat|dog|fox]", "a cat dog fox"),
        ("a [:dog:0.5][ on red::0.2]", "a dog on red"),
        ("[[a|b]:c:.5]s", "a b cs"),
        ("a  b", "a  b"),
    ],
)
def test_all_choices_can_be_read_side_by_side(prompt, words):
    assert parse_edits(prompt).text_of_all_choices() == words


def test_a_prompt_with_too_many_choices_is_text():
    fitting, more = "[a|b]" * (MAX_CHOICES // 2), "[a|b]" * (MAX_CHOICES // 2 + 1)

    assert not parse_edits(fitting).is_too_long
    assert parse_edits(more).is_too_long
    assert parse_edits(more).texts_by_step(2) == [more] * 2


@given(st.text(alphabet="ab ()[]:|.15\\", max_size=60))
def test_no_prompt_breaks_the_reader(prompt):
    read = parse_edits(prompt)

    for text in [*read.texts_by_step(5), read.text_of_all_choices()]:
        assert len(text) <= len(prompt)
    assert all(edit in prompt for edit in (*read.misread, *read.edits_as_written()))


@pytest.mark.parametrize(
    "prompt",
    ["[" * 8000 + ")" * 8000, "(" * 8000 + "]" * 8000, "[a:" * 3000 + ":0.5]" * 3000, "[|" * 4000 + "]" * 4000,
     "[(:" * 3000 + ")]" * 3000, "[a:b:x]" * 2000, "[:" + "1" * 16_000, "[a|b|c|d]" * 32, "[" * 99 + "a" + "|]" * 99],
)  # fmt: skip
def test_hostile_brackets_take_linear_time(prompt):
    began = time.process_time()
    read = parse_edits(prompt)
    read.texts_by_step(150)
    read.text_of_all_choices()
    read.edits_as_written()

    assert time.process_time() - began < 0.6
