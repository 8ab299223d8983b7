"""Which sets of LoRAs get builds of their own."""

import pytest

from bot.memory import fused_sets
from bot.memory.fused_sets import HALF_LIFE_S, MAX_BUILDS, MIN_IMAGES, FusedSets

ENOUGH = int(MIN_IMAGES)


def used(**images: int) -> FusedSets:
    """Sets with so many images just now."""
    sets = FusedSets()
    for loras, count in images.items():
        for _ in range(count):
            sets.record_image(loras, 0.0)
    return sets


def test_a_set_that_is_used_often_is_built():
    assert used(ink=ENOUGH).next_build((), 0.0) == "ink"


def test_a_set_that_is_used_now_and_then_is_not():
    assert used(ink=ENOUGH - 1).next_build((), 0.0) is None
    assert used(ink=ENOUGH).next_build((), HALF_LIFE_S / 10) is None


def test_of_several_the_most_used_is_first():
    sets = used(ink=ENOUGH, film=2 * ENOUGH)

    assert sets.next_build((), 0.0) == "film"
    assert sets.next_build(("film",), 0.0) == "ink"
    assert sets.next_build(("film", "ink"), 0.0) is None


def test_a_refused_set_is_not_built_again():
    sets = used(ink=ENOUGH)
    sets.refuse("ink")

    assert sets.next_build((), 0.0) is None


@pytest.mark.parametrize(("images", "expected"), [(2 * ENOUGH, "new"), (2 * ENOUGH - 1, None)])
def test_a_build_gives_way_only_to_a_set_that_is_used_twice_as_much(images, expected):
    sets = used(ink=ENOUGH, film=3 * ENOUGH, new=images)

    assert sets.next_build(("ink", "film"), 0.0) == expected


def test_beyond_the_limit_the_least_used_builds_go():
    sets = used(ink=ENOUGH, film=3 * ENOUGH, new=2 * ENOUGH)

    assert sets.surplus(("ink", "film", "new"), 0.0) == ["ink"]
    assert sets.surplus(("ink", "film"), 0.0) == []
    assert sets.surplus(("ink", "film", "new", "of before"), 0.0) == [
        "of before",
        "ink",
    ]
    assert MAX_BUILDS == 2


def test_use_is_forgotten_with_time():
    sets = used(ink=4 * ENOUGH)
    for _ in range(ENOUGH + 1):
        sets.record_image("film", 3 * HALF_LIFE_S)

    assert sets.surplus(("ink", "film", "other"), 3 * HALF_LIFE_S) == ["other"]
    assert sets.next_build((), 3 * HALF_LIFE_S) == "film"


def test_of_too_many_sets_the_least_used_is_forgotten(monkeypatch):
    monkeypatch.setattr(fused_sets, "MAX_SETS", 2)
    sets = used(ink=ENOUGH, once=1, film=ENOUGH)

    assert [sets.is_known(name) for name in ("ink", "once", "film")] == [True, False, True]


def test_a_forgotten_set_may_be_tried_again():
    sets = used(ink=ENOUGH)
    sets.refuse("ink")
    sets.forget("ink")
    for _ in range(ENOUGH):
        sets.record_image("ink", 0.0)

    assert sets.next_build((), 0.0) == "ink"
