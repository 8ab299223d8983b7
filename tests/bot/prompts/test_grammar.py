"""The prompt syntax: weights, breaks, LoRAs."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.prompts.grammar import (
    MAX_WEIGHT,
    LoraTag,
    find_idle_tags,
    find_lora_tags,
    has_capped_weights,
    has_weights,
    negated_readings,
    parse_chunks,
    plain_readings,
    plain_text,
    prompt_at,
    step_texts,
    without_tags,
)
from bot.prompts.misread import find_misread


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
        ("(cat: .5 )", [("cat", 0.5)]),
        ("(cat:1.)", [("cat", 1)]),
        ("(cat:+1.3)", [("cat", 1.3)]),
        ("a (cat:-1)", [("a ", 1), ("cat", -1)]),
        ("((cat:-2):2)", [("cat", -4)]),
        (r"a\:b \| (cat\::1.2)", [("a:b | ", 1), ("cat:", 1.2)]),
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


@pytest.mark.parametrize(
    ("prompt", "weight"),
    [
        ("(" * 100 + "cat" + ")" * 100, MAX_WEIGHT),
        ("((cat:-4):4)", -MAX_WEIGHT),
        ("(" * 450 + "(cat:0)" + ":5)" * 450, 0),
        ("(" * 450 + "cat" + ":5)" * 450, MAX_WEIGHT),
    ],
)
def test_weights_have_a_limit_however_deep_the_brackets(prompt, weight):
    assert weighed(prompt) == [("cat", weight)]
    assert has_capped_weights(prompt) == (weight != 0)


@pytest.mark.parametrize(
    "wrong", ["1,3", "nan", "inf", "-inf", "1e5", "9", "-9", "1.2.3", "--1", "1.3x", "30%", "9" * 30]
)
def test_a_weight_that_is_none_leaves_words_and_is_named(wrong):
    prompt = f"a (cat:{wrong}) here"

    assert weighed(prompt) == [("a ", 1), (f"cat:{wrong}", 1.1), (" here", 1)]
    assert find_misread(prompt) == [f"(cat:{wrong})"]


def test_a_break_begins_another_text_and_keeps_the_weight():
    texts = [
        [(piece.text.strip(), piece.weight) for piece in pieces] for pieces in parse_chunks("a (cat BREAK dog:1.5)")
    ]

    assert texts == [[("a", 1), ("cat", 1.5)], [("dog", 1.5)]]
    for prompt in ("a BREAK b", "a BREAK, b", "a,BREAK\nb", "a ## b"):
        assert len(parse_chunks(prompt)) == 2
    assert parse_chunks("BREAKFAST") == [[*parse_chunks("BREAKFAST")[0]]]
    assert len(parse_chunks("BREAKFAST")) == 1


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("BREAK a cat", ["a cat"]),
        ("a cat BREAK", ["a cat"]),
        ("a cat, BREAK,", ["a cat,"]),
        ("a BREAK BREAK b ## ## c", ["a", "b", "c"]),
        ("(BREAK a:1.2)", ["a"]),
        ("BREAK", [""]),
        ("", [""]),
    ],
)
def test_a_chunk_without_words_is_no_chunk_as_in_sdnext(prompt, texts):
    assert ["".join(piece.text for piece in pieces).strip() for pieces in parse_chunks(prompt)] == texts


def test_the_words_alone_are_what_a_reader_would_read():
    prompt = "<lora:ink:0.8> a (red:1.2) [cat] BREAK at night"

    assert plain_text(prompt) == "a red cat at night"


def test_words_without_syntax_stay_as_they_are_to_the_letter():
    assert plain_text("a cat, at  night") == "a cat, at  night"
    assert without_tags("a cat, at  night") == "a cat, at  night"


def test_brackets_cannot_hide_a_word():
    assert plain_text("(na)(ked)") == "naked"


@pytest.mark.parametrize(
    ("prompt", "is_so"),
    [("a cat", False), ("(cat)", True), ("a BREAK b", True), (r"\(cat\)", False), ("<lora:ink:1> cat", False)],
)
def test_weights_are_distinguished_from_text(prompt, is_so):
    assert has_weights(prompt) is is_so


def test_loras_are_found_with_their_weights():
    prompt = "a cat <lora:ink:0.8> <LORA:Old Film> <lora:x:-1> <lora:y:much> <lora:z:> <lyco:w:1.> <lora:v:1:2>"

    assert find_lora_tags(prompt) == [
        LoraTag("ink", 0.8),
        LoraTag("Old Film", 1.0),
        LoraTag("x", -1.0),
        LoraTag("y", None),
        LoraTag("z", 1.0),
        LoraTag("w", 1.0),
        LoraTag("v", None),
    ]
    assert without_tags(prompt) == "a cat"
    assert find_idle_tags(prompt) == []


@pytest.mark.parametrize(
    ("written", "weight"),
    [
        ("0.8:0.8", 0.8),
        ("te=0.8:unet=.8", 0.8),
        ("unet=-1", -1),
        ("1:0.5", None),
        ("te=1:unet=0", None),
        ("1:lbw=OUTD", None),
    ],
)
def test_a_lora_has_one_weight_for_text_encoders_and_denoiser(written, weight):
    """SD.Next has one for each; if they are equal, they are the one weight."""
    assert find_lora_tags(f"<lora:ink:{written}>") == [LoraTag("ink", weight)]


def test_tags_that_name_no_lora_are_no_words_either():
    prompt = "a <hypernet:ink:1> cat <lora::1> <lora: :1> <wave:1> <3 : >"

    assert find_idle_tags(prompt) == ["<hypernet:ink:1>", "<lora::1>", "<lora: :1>", "<wave:1>"]
    assert find_lora_tags(prompt.replace("<lora: :1>", "")) == []
    assert plain_text(prompt) == "a cat <3 : >"


def test_each_step_has_a_text_with_its_weights():
    assert step_texts("a <lora:ink:[1|2]> [(cat:1.2):dog:0.5]", 2) == ["a (cat:1.2)", "a dog"]


def test_every_reading_of_a_prompt_is_known_to_who_judges_its_words():
    assert plain_readings("a [na|x]ked [cat:dog:0.5]", 2) == ["a na xked cat dog", "a naked cat", "a xked dog"]
    assert negated_readings("red (naked:-1), [(blue:-2):x:0.5]", 2) == ["naked blue", "naked"]
    assert negated_readings("(naked:[-1:1:0.5])", 2) == ["naked"]
    assert negated_readings("(red:1.2) [blue]", 2) == []


def test_each_picture_may_have_a_prompt_of_its_own():
    options = {"prompt": "a fox", "prompts": ["a fox", "a cat"]}

    assert [prompt_at(options, index) for index in range(3)] == ["a fox", "a cat", "a fox"]


@given(st.text(alphabet="ab ()[]:|.-12\\<>BREAK", max_size=80))
def test_no_prompt_breaks_the_reader(prompt):
    for pieces in parse_chunks(prompt):
        for piece in pieces:
            assert -MAX_WEIGHT <= piece.weight <= MAX_WEIGHT
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
