"""The prompt syntax: weights, breaks, LoRAs."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.prompts.grammar import (
    MAX_WEIGHT,
    LoraTag,
    find_lora_tags,
    has_weights,
    parse_chunks,
    plain_text,
    prompt_at,
    without_loras,
)


def weighed(prompt: str) -> list[tuple[str, float]]:
    (pieces,) = parse_chunks(prompt)
    return [(piece.text, round(piece.weight, 3)) for piece in pieces]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat", [("a cat", 1)]),
        ("a (cat:1.3) here", [("a ", 1), ("cat", 1.3), (" here", 1)]),
        ("(cat)", [("cat", 1.1)]),
        ("((cat))", [("cat", 1.21)]),
        ("[cat]", [("cat", 0.909)]),
        ("(a (cat:1.5) b:2)", [("a ", 2), ("cat", 3), (" b", 2)]),
        ("(cat: .5)", [("cat", 0.5)]),
        (r"\(cat\) \[dog\]", [("(cat) [dog]", 1)]),
        ("(cat:0)", [("cat", 0)]),
    ],
)
def test_emphasis_multiplies_the_weight_of_what_it_holds(prompt, expected):
    assert weighed(prompt) == expected


@pytest.mark.parametrize("prompt", ["a cat :)", "(a cat", "a ] cat", "cat:1.3)", "([cat"])
def test_an_unmatched_bracket_is_literal(prompt):
    assert weighed(prompt) == [(prompt, 1)]


def test_a_number_that_is_no_weight_stays_a_word():
    assert weighed("(16:9)") == [("16:9", 1.1)]


def test_weights_have_a_limit_however_deep_the_brackets():
    ((_, weight),) = weighed("(" * 100 + "cat" + ")" * 100)

    assert weight == MAX_WEIGHT


def test_a_break_begins_another_text_and_keeps_the_weight():
    texts = [
        [(piece.text.strip(), piece.weight) for piece in pieces] for pieces in parse_chunks("a (cat BREAK dog:1.5)")
    ]

    assert texts == [[("a", 1), ("cat", 1.5)], [("dog", 1.5)]]
    assert parse_chunks("BREAKFAST") == [[*parse_chunks("BREAKFAST")[0]]]
    assert len(parse_chunks("BREAKFAST")) == 1


def test_the_words_alone_are_what_a_reader_would_read():
    prompt = "<lora:ink:0.8> a (red:1.2) [cat] BREAK at night"

    assert plain_text(prompt) == "a red cat at night"


def test_words_without_syntax_stay_as_they_are_to_the_letter():
    assert plain_text("a cat, at  night") == "a cat, at  night"
    assert without_loras("a cat, at  night") == "a cat, at  night"


def test_brackets_cannot_hide_a_word():
    assert plain_text("(na)(ked)") == "naked"


@pytest.mark.parametrize(
    ("prompt", "is_so"),
    [("a cat", False), ("(cat)", True), ("a BREAK b", True), (r"\(cat\)", False), ("<lora:ink:1> cat", False)],
)
def test_weights_are_distinguished_from_text(prompt, is_so):
    assert has_weights(prompt) is is_so


def test_loras_are_found_with_their_weights():
    prompt = "a cat <lora:ink:0.8> <LORA:Old Film> <lora:x:-1> <lora:y:much>"

    assert find_lora_tags(prompt) == [
        LoraTag("ink", 0.8),
        LoraTag("Old Film", 1.0),
        LoraTag("x", -1.0),
        LoraTag("y", None),
    ]
    assert without_loras(prompt) == "a cat"


def test_each_picture_may_have_a_prompt_of_its_own():
    options = {"prompt": "a fox", "prompts": ["a fox", "a cat"]}

    assert [prompt_at(options, index) for index in range(3)] == ["a fox", "a cat", "a fox"]


@given(st.text(alphabet="ab ()[]:.12\\<>BREAK", max_size=80))
def test_no_prompt_breaks_the_reader(prompt):
    for pieces in parse_chunks(prompt):
        for piece in pieces:
            assert 0 <= piece.weight <= MAX_WEIGHT
            assert piece.text
    assert len(plain_text(prompt)) <= len(prompt) + 1


@pytest.mark.parametrize(
    "prompt",
    ["(" * 8000 + "]" * 8000, "[" * 8000 + ")" * 8000, "(:" + "1" * 16_000, "(:" + " " * 16_000, "(" * 16_000],
)
def test_a_prompt_of_brackets_or_digits_takes_linear_time(prompt):
    began = time.process_time()
    plain_text(prompt)

    assert time.process_time() - began < 0.6  # two seconds, in quadratic time
