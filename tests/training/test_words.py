"""Prompts and questions are worded in many ways, and every word is known to its tokenizer."""

from __future__ import annotations

import numpy as np
import pytest

from training.questions import Asker, question_words
from training.words import Speaker, build_tokenizer, complete, prompt_words
from training.world import Combination, for_training

ORANGE = Combination("circle", "orange", "gray")


@pytest.fixture
def prompts() -> list[str]:
    speaker = Speaker(np.random.default_rng(0))
    return [speaker.prompt(ORANGE) for _ in range(300)]


def test_prompts_are_worded_in_many_ways(prompts):
    assert len(set(prompts)) > 100
    assert "an orange circle on a gray background" in prompts


def test_prompts_name_the_background_unless_told_not_to():
    speaker = Speaker(np.random.default_rng(0))

    assert not any("gray" in speaker.prompt(ORANGE, says_ground=False) for _ in range(50))


@pytest.mark.parametrize(
    ("colour", "ground", "says_colour", "says_ground", "meant"),
    [
        ("red", "blue", True, False, ("red", "white")),
        ("white", "blue", True, False, ("white", "gray")),
        ("green", "blue", False, True, ("red", "blue")),
        ("green", "red", False, True, ("blue", "red")),
        ("green", "blue", False, False, ("red", "white")),
    ],
)
def test_what_a_prompt_leaves_unsaid_is_fixed(colour, ground, says_colour, says_ground, meant):
    what = complete(Combination("star", colour, ground), says_colour, says_ground)

    assert (what.colour, what.background) == meant


def test_the_prompt_tokenizer_knows_its_words_in_any_case_and_spelling():
    tokenizer = build_tokenizer(prompt_words(), 32, ends=True)

    assert tokenizer("A RED circle, GREY background").input_ids == (
        tokenizer("a red circle, gray background").input_ids
    )
    assert tokenizer.unk_token_id not in tokenizer("a grey heart on an orange backdrop").input_ids


def test_the_question_tokenizer_knows_every_question_and_answer():
    tokenizer = build_tokenizer(question_words(), 64, ends=False, extra=("<image>",))
    asker, rng = Asker(np.random.default_rng(1)), np.random.default_rng(2)
    combinations = for_training()

    for _ in range(300):
        asked = asker.ask(combinations[int(rng.integers(len(combinations)))])
        assert tokenizer.unk_token_id not in tokenizer(f"{asked.text} {asked.answer}").input_ids
