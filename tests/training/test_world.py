"""The world of scenes is fixed: its colours, its things, and what is kept from training."""

from __future__ import annotations

import numpy as np
import pytest

from training.artwork import kept, sprite
from training.colours import COLOURS
from training.draw import render
from training.objects import OBJECTS
from training.scenes import KINDS, SceneChooser, draw_batch
from training.shapes import SHAPES
from training.world import (
    CANONICAL,
    SPOTS,
    Scene,
    Thing,
    all_scenes,
    all_things,
    for_training,
    held_out,
    is_held_out,
    is_visible,
    unsaid_background,
)

CAT, OWL, STAR = Thing("cat"), Thing("owl"), Thing("star", "orange")


def plain(name: str, background: str, colour: str = "") -> Scene:
    return Scene((Thing(name, colour),), background)


def test_the_world_holds_what_people_name_first():
    assert len(OBJECTS) >= 200
    assert len(COLOURS) == 12
    assert len(SHAPES) >= 5
    assert set(kept()) == set(OBJECTS)


def test_no_two_things_share_a_word():
    words = [word for name, entry in OBJECTS.items() for word in (name, *entry.synonyms)] + list(SHAPES)

    assert len(words) == len(set(words))


def test_the_same_seed_draws_the_same_pictures():
    first, second = (draw_batch(SceneChooser(), np.random.default_rng(3), 4)[0] for _ in range(2))

    assert bool((first == second).all())


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_exact_in_the_shape_and_behind_it(colour):
    other = "black" if colour != "black" else "white"

    inside, behind = render(plain("square", other, colour)), render(plain("square", colour, other))

    assert tuple(inside[64, 64]) == COLOURS[colour]
    assert tuple(behind[0, 0]) == COLOURS[colour]


def test_a_sprite_fills_its_square_in_one_direction_at_least():
    for name in ("cat", "bus", "pencil", "lightning"):
        seen = sprite(name, 96)[..., 3] > 60

        assert max(np.ptp(np.flatnonzero(seen.any(axis=axis))) for axis in (0, 1)) >= 92


@pytest.mark.parametrize("spot", [spot for spot in SPOTS if spot != "centre"])
def test_a_thing_stands_where_it_is_said_to(spot):
    pixels = render(Scene((STAR,), "black", spot=spot))
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
    assert not set(held_out()) & set(for_training())
    assert len(held_out()) + len(for_training()) == len(list(all_scenes()))


def test_the_held_out_scenes_are_many_and_never_change():
    kept_back = held_out()

    assert len(kept_back) == 505
    assert kept_back[:2] == (CANONICAL, plain("bell", "black"))
    assert sum(bool(scene.thing.colour) for scene in kept_back) == 156


def test_every_thing_is_seen_in_training_on_most_backgrounds():
    seen = [scene.thing for scene in for_training()]

    assert set(seen) == set(all_things())
    assert min(seen.count(thing) for thing in all_things()) >= 5


def test_scenes_of_every_kind_are_chosen_and_none_is_held_out():
    chooser, rng = SceneChooser(dict.fromkeys(KINDS, 0.2)), np.random.default_rng(1)
    scenes = [chooser.choose(rng) for _ in range(300)]

    assert not any(is_held_out(scene) for scene in scenes)
    assert {len(scene.things) for scene in scenes} == {1, 2, 3}
    assert any(scene.is_pair for scene in scenes)
    assert {scene.spot for scene in scenes} == set(SPOTS)


def test_a_thing_on_a_held_out_background_is_held_out_wherever_it_stands():
    [ground] = {scene.background for scene in held_out() if scene.thing == CANONICAL.thing and scene == CANONICAL}

    assert is_held_out(Scene((CANONICAL.thing, CAT), ground))
    assert is_held_out(Scene((CANONICAL.thing,), ground, spot="left"))


def test_what_cannot_be_told_from_its_background_is_no_scene():
    assert not is_visible(Thing("tooth"), "white")
    assert unsaid_background(Thing("tooth")) == "gray"
    assert unsaid_background(CAT) == "white"
