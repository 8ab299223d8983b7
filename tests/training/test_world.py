"""The world of scenes is fixed: its colours, its shapes, and what is kept from training."""

from __future__ import annotations

import numpy as np
import pytest

from training.judge import Judge
from training.world import (
    CANONICAL,
    COLOURS,
    SHAPES,
    Combination,
    Scene,
    all_combinations,
    for_training,
    held_out,
    random_scene,
    render,
)


def test_the_same_seed_draws_the_same_picture():
    first, second = (render(random_scene(np.random.default_rng(3), all_combinations())) for _ in range(2))

    assert np.array_equal(first, second)


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_exact_in_the_shape_and_behind_it(colour):
    other = "black" if colour != "black" else "white"

    inside = render(Scene(Combination("square", colour, other)))
    behind = render(Scene(Combination("square", other, colour)))

    assert tuple(inside[64, 64]) == COLOURS[colour]
    assert tuple(behind[0, 0]) == COLOURS[colour]


def test_no_held_out_combination_is_trained_on():
    assert not set(held_out()) & set(for_training())
    assert len(held_out()) + len(for_training()) == len(all_combinations())


def test_the_held_out_combinations_are_many_and_never_change():
    kept = held_out()

    assert len(kept) == 156
    assert kept[0] == Combination(*CANONICAL)
    assert kept[1] == Combination("star", "blue", "pink")


def test_every_pair_of_words_is_seen_in_training():
    seen = for_training()

    assert {(c.shape, c.colour) for c in seen} == {(s, c) for s in SHAPES for c in COLOURS}
    assert {(c.shape, c.background) for c in seen} == {(s, c) for s in SHAPES for c in COLOURS}


def test_the_judge_names_true_pictures_rightly():
    judge, rng = Judge(), np.random.default_rng(8)
    scenes = [random_scene(rng, all_combinations()) for _ in range(100)]

    right = sum(all(judge.judge(render(s)).agrees(s.what).values()) for s in scenes)

    assert right >= 98


def test_the_judge_refuses_an_empty_picture():
    empty = np.full((128, 128, 3), 255, dtype=np.uint8)

    marks = Judge().judge(empty).agrees(Combination("circle", "red", "white"))

    assert marks == {"shape": False, "colour": False, "background": True, "size": False}
