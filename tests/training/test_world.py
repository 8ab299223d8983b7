"""The world of scenes is fixed: its colours, its things, and the scenes held out from training."""

from __future__ import annotations

import numpy as np
import pytest

from training.artwork import load_artwork, render_sprite
from training.colours import COLOURS
from training.draw import render_scene
from training.objects import OBJECTS
from training.scenes import KINDS, SceneSampler, render_batch
from training.shapes import SHAPES
from training.world import (
    CANONICAL,
    SPOTS,
    Scene,
    Thing,
    all_scenes,
    all_things,
    default_background,
    held_out_scenes,
    is_held_out,
    is_visible,
    training_scenes,
)

CAT, OWL, STAR = Thing("cat"), Thing("owl"), Thing("star", "orange")


def plain(name: str, background: str, colour: str = "") -> Scene:
    return Scene((Thing(name, colour),), background)


def test_the_world_has_the_things_people_name_first():
    assert len(OBJECTS) >= 200
    assert len(COLOURS) == 12
    assert len(SHAPES) >= 5
    assert set(load_artwork()) == set(OBJECTS)


def test_no_two_things_share_a_word():
    words = [word for name, entry in OBJECTS.items() for word in (name, *entry.synonyms)] + list(SHAPES)

    assert len(words) == len(set(words))


def test_the_same_seed_draws_the_same_pictures():
    first, second = (render_batch(SceneSampler(), np.random.default_rng(3), 4)[0] for _ in range(2))

    assert bool((first == second).all())


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_exact_in_the_shape_and_behind_it(colour):
    other = "black" if colour != "black" else "white"

    inside, behind = render_scene(plain("square", other, colour)), render_scene(plain("square", colour, other))

    assert tuple(inside[64, 64]) == COLOURS[colour]
    assert tuple(behind[0, 0]) == COLOURS[colour]


def test_a_sprite_fills_its_square_in_at_least_one_direction():
    for name in ("cat", "bus", "pencil", "lightning"):
        opaque = render_sprite(name, 96)[..., 3] > 60

        assert max(np.ptp(np.flatnonzero(opaque.any(axis=axis))) for axis in (0, 1)) >= 92


@pytest.mark.parametrize("spot", [spot for spot in SPOTS if spot != "centre"])
def test_a_thing_is_rendered_at_its_position(spot):
    pixels = render_scene(Scene((STAR,), "black", spot=spot))
    y, x = np.argwhere((pixels != COLOURS["black"]).any(axis=-1)).mean(axis=0)

    assert ("left" in spot) == (x < 50)
    assert ("right" in spot) == (x > 78)
    assert ("top" in spot) == (y < 50)
    assert ("bottom" in spot) == (y > 78)


@pytest.mark.parametrize(
    ("scene", "caption"),
    [
        (Scene((CAT,), "orange"), "a cat on an orange background"),
        (Scene((STAR,), "blue", spot="top left"), "an orange star in the top left on a blue background"),
        (Scene((OWL,), "pink", size="small"), "a small owl on a pink background"),
        (Scene((Thing("mouse"),) * 3, "pink"), "three mice on a pink background"),
        (Scene((CAT, STAR), "green"), "a cat and an orange star on a green background"),
        (Scene((Thing("scissors"),), "red", spot="bottom"), "scissors at the bottom on a red background"),
    ],
)
def test_a_scene_has_one_plainest_caption(scene, caption):
    assert scene.caption == caption


def test_no_held_out_scene_is_trained_on():
    assert not set(held_out_scenes()) & set(training_scenes())
    assert len(held_out_scenes()) + len(training_scenes()) == len(list(all_scenes()))


def test_the_held_out_scenes_are_many_and_never_change():
    held_out = held_out_scenes()

    assert len(held_out) == 505
    assert held_out[:2] == (CANONICAL, plain("bell", "black"))
    assert sum(bool(scene.thing.colour) for scene in held_out) == 156


def test_every_thing_is_in_training_on_most_backgrounds():
    things = [scene.thing for scene in training_scenes()]

    assert set(things) == set(all_things())
    assert min(things.count(thing) for thing in all_things()) >= 5


def test_scenes_of_every_kind_are_sampled_and_none_is_held_out():
    sampler, rng = SceneSampler(dict.fromkeys(KINDS, 0.2)), np.random.default_rng(1)
    scenes = [sampler.sample_scene(rng) for _ in range(300)]

    assert not any(is_held_out(scene) for scene in scenes)
    assert {len(scene.things) for scene in scenes} == {1, 2, 3}
    assert any(scene.is_pair for scene in scenes)
    assert {scene.spot for scene in scenes} == set(SPOTS)


def test_a_thing_on_a_held_out_background_is_held_out_at_every_position():
    [ground] = {
        scene.background for scene in held_out_scenes() if scene.thing == CANONICAL.thing and scene == CANONICAL
    }

    assert is_held_out(Scene((CANONICAL.thing, CAT), ground))
    assert is_held_out(Scene((CANONICAL.thing,), ground, spot="left"))


def test_a_thing_that_is_invisible_on_a_background_is_no_scene():
    assert not is_visible(Thing("tooth"), "white")
    assert default_background(Thing("tooth")) == "gray"
    assert default_background(CAT) == "white"
