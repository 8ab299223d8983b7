"""Refinement in tiles: which pictures need them, where they are, what they cost, and what is refused."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.commands import Upscale
from bot.commands.parts import parts_of
from bot.commands.refine_tiles import OVERLAP, plan_refinement, plan_tiles
from bot.commands.upscale import explain_resize
from bot.error_texts import explain
from bot.errors import InvalidOption
from bot.jobs import ImageRef, StoredImage
from bot.models import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, IMAGE_UPSCALING, TEXT_TO_IMAGE, ModelRegistry
from bot.queue.pricing import Rates, price
from tests.fakes import make_model

PAINTER = make_model(
    name="painter", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), width=512, height=512, max_size=768, step_s=2.0,
    overhead_s=1.0, steps=10,
)  # fmt: skip
CONTROLLED = replace(PAINTER, controls={"tile": "org/tile"})
DEMO = replace(PAINTER, name="starter", demo=True)
READER = make_model(name="reader", tasks=(IMAGE_TO_TEXT,))
ESRGAN = make_model(name="esrgan", tasks=(IMAGE_UPSCALING,), step_s=2.0)
DEMO_ESRGAN = replace(ESRGAN, name="starter-upscale", demo=True)


def registry(*models):
    return ModelRegistry({model.name: model for model in models})


def upscaling(model, width=512, height=512, **options):
    picture = StoredImage(id="0" * 64, media_type="image/png", width=width, height=height)
    return Upscale.from_options(options, (ImageRef("0" * 64),)).with_images([picture]).for_model(model)


@settings(max_examples=40)
@given(
    width=st.integers(16, 3000),
    height=st.integers(16, 3000),
    side=st.sampled_from([64, 128, 512]),
    multiple=st.sampled_from([8, 16]),
)
def test_tiles_cover_the_picture_and_overlap(width, height, side, multiple):
    plan = plan_tiles((width, height), (side, side), multiple)

    assert len({(right - left, bottom - top) for left, top, right, bottom in plan.boxes}) == 1
    for axis, length in ((0, width), (1, height)):
        spans = sorted({(box[axis], box[axis + 2]) for box in plan.boxes})
        assert all(start % multiple == 0 for start, _ in spans)
        assert spans[0][0] == 0
        assert length <= spans[-1][1] < length + multiple
        shared = [stop - start for (_, stop), (start, _) in itertools.pairwise(spans)]
        assert all(one >= round(side * OVERLAP) - multiple for one in shared)


@pytest.mark.parametrize(("scale", "size", "tiles"), [(2, (512, 384), 6), (4, (500, 300), 15), (2, (401, 400), 4)])
def test_a_picture_larger_than_the_model_draws_is_refined_in_tiles(scale, size, tiles):
    command = upscaling(PAINTER, *size, scale=scale)
    filled = command.fill_options(PAINTER, 7)
    plan = plan_refinement(filled, PAINTER)

    assert (filled["method"], filled["width"], filled["height"]) == ("refine", scale * size[0], scale * size[1])
    assert (filled["strength"], filled["steps"]) == (0.3, 10)
    assert plan is not None
    assert len(plan.boxes) == tiles
    assert command.work_units(filled) == (3, 512 * 512, tiles)
    assert price(command, PAINTER, filled, Rates()) == tiles * (1.0 + 3 * 2.0)


def test_what_the_model_draws_whole_has_no_tiles():
    command = upscaling(PAINTER, 256, 384, strength=0.9)
    filled = command.fill_options(PAINTER, 7)

    assert plan_refinement(filled, PAINTER) is None
    assert command.work_units(filled) == (9, 512 * 768, 1)


@pytest.mark.parametrize(("model", "allowed", "highest"), [(PAINTER, 0.35, 0.36), (CONTROLLED, 0.6, 0.61)])
def test_a_strength_that_would_make_each_tile_a_picture_is_refused(model, allowed, highest):
    assert upscaling(model, strength=allowed).fill_options(model, 7)["strength"] == allowed
    with pytest.raises(InvalidOption) as refused:
        upscaling(model, strength=highest).fill_options(model, 7)
    assert explain(refused.value) == (
        f"strength is {highest}, but a picture that is refined in parts takes 0.01 to {allowed}: "
        "with more, each part would become a picture of its own."
    )


def test_a_tile_control_costs_as_much_as_any_control():
    command = upscaling(CONTROLLED)

    assert command.work_units(command.fill_options(CONTROLLED, 7)) == (3, pytest.approx(512 * 512 * 1.4), 9)


@pytest.mark.parametrize(
    ("model", "side", "asked", "method"),
    [
        (PAINTER, 1000, {}, "refine"),
        (PAINTER, 1900, {}, "resize"),
        (PAINTER, 1900, {"method": "refine"}, "refine"),
        (DEMO, 384, {}, "refine"),
        (DEMO, 400, {}, "resize"),
        (DEMO, 400, {"method": "refine"}, "refine"),
    ],
)
def test_a_long_refinement_or_one_in_tiles_by_a_demo_must_be_asked_for(model, side, asked, method):
    assert upscaling(model, side, side, **asked).fill_options(model, 7)["method"] == method


def test_the_result_says_that_a_long_refinement_must_be_asked_for():
    note = 'Only resized: refining 3800x3800 takes long, so it must be asked for: method "refine".'

    assert explain_resize([DEMO, PAINTER], 3800, 3800) == note
    assert (
        explain_resize([DEMO], 800, 800) == "Only resized: starter draws at most 768 px a side, and 800x800 is larger."
    )


@pytest.mark.parametrize(
    ("models", "side", "parts"),
    [
        ((PAINTER,), 512, {}),
        ((PAINTER, READER), 512, {"reader": 9}),
        ((PAINTER, replace(READER, demo=True)), 512, {}),
        ((DEMO, READER), 512, {}),
        ((PAINTER, READER), 1000, {}),  # more tiles than captions
        ((PAINTER, READER), 256, {}),
        ((PAINTER, ESRGAN), 512, {"esrgan": 1}),
        ((PAINTER, DEMO_ESRGAN), 512, {}),
        ((DEMO, DEMO_ESRGAN), 512, {"starter-upscale": 1}),
    ],
)
def test_captions_and_the_upscaler_are_priced(models, side, parts):
    model = models[0]
    command = upscaling(model, side, side, method="refine")
    found = [part.model.name for part in parts_of(command, command.fill_options(model, 7), registry(*models))]

    assert {name: found.count(name) for name in found} == parts


@pytest.mark.parametrize(("width", "problem"), [(2100, "range"), (20, "refine_small")])
def test_what_is_too_large_or_too_small_is_refused_before_it_is_accepted(width, problem):
    with pytest.raises(InvalidOption) as refused:
        upscaling(PAINTER, width, width, method="refine").fill_options(PAINTER, 7)

    assert refused.value.problem == problem
