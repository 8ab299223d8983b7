"""What looks like prompt syntax and is read as words is named."""

import time

import pytest

from bot.prompts.misread import find_misread


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("a cat AND a dog, AND a fox", ["AND"]),
        ("a cat:0.8 AND a dog :1.2", ["AND", ":0.8", ":1.2"]),
        ("A CAT AND A DOG:1.2", ["AND", ":1.2"]),
        ("a cat TE2: a dog", ["TE2:"]),
        ("[cat:dog:0,5] AND (x:1,3)", ["[cat:dog:0,5]", "(x:1,3)", "AND"]),
        ("(a cat" + " on a red sofa" * 9 + ":1,3)", ["(a cat" + " on a red sofa" * 9 + ":1,3)"]),
        ("(a (red) cat:1,3)", ["(a (red) cat:1,3)"]),
        ("(cat:1 .3) (dog:1/2) (fox:½)", ["(cat:1 .3)", "(dog:1/2)", "(fox:½)"]),
        ("（cat:1.3） (dog：1.2)", ["(dog：1.2)", "（cat:1.3）"]),
        ("(cat:−1) (dog:—1) (fox:1，3)", ["(cat:−1)", "(dog:—1)", "(fox:1，3)"]),
        ("a (cat:1.3 on red", ["(cat:1.3"]),
        ("a dog, a cat:1.3) on red", ["a cat:1.3)"]),
        ("a (cat:1.3]", ["(cat:1.3"]),
        ("a [red:1.2)", ["red:1.2)"]),
        ("a [cat:dog:0.5 on [red|blue", ["[cat:dog:0.5", "[red|blue"]),
        ("cat:dog:0.5] on red|blue]", ["cat:dog:0.5]", "on red|blue]"]),
        ("a cat <lora:ink:1 < lyco:ink> <lora>", ["<lora:ink:1", "< lyco:ink>", "<lora>"]),
    ],
)
def test_what_looks_like_syntax_and_is_not_is_named(prompt, named):
    assert find_misread(prompt) == named


@pytest.mark.parametrize(
    "prompt",
    [
        "A CAT AND A DOG",
        "a cat and ANDREA",
        "(Japan: Kyoto), (cat:1.3), [a|b]",
        "at 5:30 :) :( (a cat ] b)",
        r"\(cat:1.3 [dog\:1.3 \[a|b a\|b]",
        "<lora:ink:1> <hypernet:x:1> a <3 : >",
        "((cat:1.3):1.2) [[a|b]:c:3]",
    ],
)
def test_other_text_is_not_named(prompt):
    assert find_misread(prompt) == []


@pytest.mark.parametrize(
    "prompt",
    [
        "(" * 8000 + "]" * 8000,
        "(:" + " " * 16_000,
        "(a:" * 2000 + ",3)" * 2000,
        "[:1" * 5000,
        "（:" * 8000,
        "<lora" * 3000,
    ],
)
def test_hostile_text_takes_linear_time(prompt):
    began = time.process_time()
    find_misread(prompt)

    assert time.process_time() - began < 0.6
