import time

import pytest

from bot.errors import InvalidOption
from bot.prompts.combinations import expand_combinations


@pytest.mark.parametrize(
    ("prompt", "all_of_them"),
    [
        ("a fox", ["a fox"]),
        ("a {red|blue} fox", ["a red fox", "a blue fox"]),
        ("{a|b} {c|d}", ["a c", "a d", "b c", "b d"]),
        ("a {big |}fox", ["a bigfox", "a fox"]),
        ("a {big|} fox", ["a big fox", "a fox"]),
        ("a { red | blue } fox", ["a red fox", "a blue fox"]),
        ("a {fox}", ["a {fox}"]),
        ("a | b", ["a | b"]),
        ("{{a|b}|c}", ["{a|c}", "{b|c}"]),
        ("{a|b", ["{a|b"]),
        ("{[a|b]|c} d", ["[a|b] d", "c d"]),
        ("{a [b|c] | [d:e:0.5]}", ["a [b|c]", "[d:e:0.5]"]),
        ("{[a|b]} {c|d}", ["{[a|b]} c", "{[a|b]} d"]),
        ("{a [b|c}", ["a [b", "c"]),
        ("[a|b] {c|d}", ["[a|b] c", "[a|b] d"]),
        ("{[a|[b|c]]|d}", ["[a|[b|c]]", "d"]),
        ("{[[a|b]|c] e|d}", ["[[a|b]|c] e", "d"]),
        (r"{\[a|b\]|c}", [r"\[a", r"b\]", "c"]),
        (r"{[a\]|b]|c}", [r"[a\]|b]", "c"]),
        (r"{a\|b|c}", [r"a\|b", "c"]),
    ],
)
def test_a_prompt_expands_to_all_combinations_in_order(prompt, all_of_them):
    assert expand_combinations(prompt) == all_of_them


def test_64_combinations_are_accepted():
    assert len(expand_combinations("{a|b|c|d}" * 3)) == 64


@pytest.mark.parametrize("prompt", ["{a|b|c|d|e}" * 3, "{a|b}" * 400, "{" + "|" * 1998 + "}"])
def test_more_are_refused_before_they_are_made(prompt):
    with pytest.raises(InvalidOption) as refused:
        expand_combinations(prompt)

    assert (refused.value.problem, refused.value.allowed) == ("combinations", "64")


def test_an_open_choice_takes_linear_time():
    prompt = "{" + "|" * 20_000

    began = time.process_time()
    assert expand_combinations(prompt) == [prompt]

    assert time.process_time() - began < 0.6  # two seconds, in quadratic time
