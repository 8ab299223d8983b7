"""Prompts and questions have many wordings, and the tokenizers know every word."""

from __future__ import annotations

import numpy as np
import pytest

from training.objects import OBJECTS, plural
from training.prompts import PromptWriter, build_tokenizer, complete_scene, prompt_words
from training.questions import QuestionGenerator, question_words
from training.scenes import KINDS, SceneSampler
from training.world import Scene, Thing

ORANGE = Scene((Thing("circle", "orange"),), "gray")
EVEN = dict.fromkeys(KINDS, 0.2)


@pytest.fixture
def writer() -> PromptWriter:
    return PromptWriter(np.random.default_rng(0))


@pytest.fixture
def scenes() -> list[Scene]:
    sampler, rng = SceneSampler(EVEN), np.random.default_rng(5)
    return [sampler.sample_scene(rng) for _ in range(400)]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(prompt_words(), 32, adds_eos=True)


def unknown(tokenizer, text):
    return tokenizer.unk_token_id in tokenizer(text, add_special_tokens=False).input_ids


def test_prompts_have_many_wordings(writer):
    prompts = [writer.write_prompt(ORANGE) for _ in range(300)]

    assert len(set(prompts)) > 100
    assert "an orange circle on a gray background" in prompts


def test_prompts_name_the_background_unless_told_not_to(writer):
    assert not any("gray" in writer.write_prompt(ORANGE, says_background=False) for _ in range(50))


@pytest.mark.parametrize(
    ("colour", "ground", "says_colour", "says_background", "meant"),
    [
        ("red", "blue", True, False, ("red", "white")),
        ("white", "blue", True, False, ("white", "gray")),
        ("green", "blue", False, True, ("red", "blue")),
        ("green", "red", False, True, ("blue", "red")),
        ("green", "blue", False, False, ("red", "white")),
    ],
)
def test_a_prompt_that_omits_a_colour_has_a_fixed_meaning(colour, ground, says_colour, says_background, meant):
    scene = complete_scene(Scene((Thing("star", colour),), ground), says_colour, says_background)

    assert (scene.thing.colour, scene.background) == meant


def test_the_default_background_of_a_white_object_is_gray():
    assert complete_scene(Scene((Thing("skull"),), "blue"), True, False).background == "gray"


@pytest.mark.parametrize(
    ("name", "many"), [("cat", "cats"), ("mouse", "mice"), ("cherries", "cherries"), ("church", "churches")]
)
def test_names_have_plurals(name, many):
    assert plural(name) == many


def test_the_prompt_tokenizer_knows_its_words_in_any_case_and_spelling(tokenizer):
    assert tokenizer("A RED circle, GREY background").input_ids == (
        tokenizer("a red circle, gray background").input_ids
    )
    assert not unknown(tokenizer, "a grey heart on an orange backdrop in the centre")


def test_the_prompt_tokenizer_knows_every_prompt(tokenizer, writer, scenes):
    prompts = [writer.write_prompt(scene).replace("<unk>", "") for scene in scenes]

    assert [prompt for prompt in prompts if unknown(tokenizer, prompt)] == []
    assert max(len(tokenizer(prompt).input_ids) for prompt in prompts) <= 32


@pytest.mark.parametrize("word", ["at", "in", "of", "please", "on", "with", "the", "my", "for", "and", "to"])
def test_the_prompt_tokenizer_knows_the_small_words(tokenizer, word):
    assert not unknown(tokenizer, word)


@pytest.mark.parametrize("word", ["knight", "sunset", "four"])
def test_the_prompt_tokenizer_does_not_know_what_it_cannot_draw(tokenizer, word):
    assert unknown(tokenizer, word)


def test_every_object_has_a_plural_that_is_known(tokenizer):
    assert not any(unknown(tokenizer, plural(name)) for name in OBJECTS)


def test_the_question_tokenizer_knows_every_question_and_answer(scenes):
    tokenizer = build_tokenizer(question_words(), 64, adds_eos=False, extra=("<image>",))
    questions = QuestionGenerator(np.random.default_rng(1))

    for scene in scenes:
        sampled = questions.sample_question(scene)
        assert not unknown(tokenizer, f"{sampled.prompt} {sampled.answer} {scene.caption}"), sampled


def test_yes_and_no_are_answered_equally_often(scenes):
    questions = QuestionGenerator(np.random.default_rng(1))

    answers = [questions.yes_no_question(scene).answer for scene in scenes]

    assert 0.43 < answers.count("yes") / len(answers) < 0.57
