"""Hires fix, variations, schedules and other options of pictures, as requests."""

from typing import Any

import pytest

from bot.commands import Imagine
from bot.commands.drawing_options import HIRES_STRENGTH, hires_size
from bot.error_texts import explain
from bot.errors import InvalidOption
from bot.jobs import ImageRef
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE, ModelSpec
from bot.options import MAX_SEED
from bot.queue.pricing import Rates, price

CAPABILITIES = {
    "samplers": ["euler", "dpmpp_2m", "ddim"],
    "row_options": [
        "hires",
        "variation_seed",
        "variation_strength",
        "guidance_rescale",
        "clip_skip",
        "tiling",
        "schedule",
    ],
    "image_options": ["hires", "variation_seed", "variation_strength", "clip_skip", "tiling", "schedule"],
    "schedules": {"euler": ["karras", "beta"], "dpmpp_2m": ["karras"], "ddim": ["simple"]},
    "clip_skip": 4,
}


def make_model(**overrides: Any) -> ModelSpec:
    settings: dict[str, Any] = {
        "name": "tiny", "tasks": (TEXT_TO_IMAGE, IMAGE_TO_IMAGE), "repo": ".", "width": 128, "height": 128,
        "size_multiple": 16, "max_size": 256, "steps": 20, "capabilities": CAPABILITIES,
    }  # fmt: skip
    return ModelSpec(**settings | overrides)


def fill(model=None, images=(), seed=5, **options):
    command = Imagine.from_options({"prompt": "a fox", **options}, images)
    return command.fill_options(model or make_model(), seed)


def refusal(**options):
    with pytest.raises(InvalidOption) as refused:
        fill(**options)
    return refused.value.option, explain(refused.value)


INIT, MASK, CONTROL = ImageRef("a"), ImageRef("b", "mask"), ImageRef("c", "control", kind="canny")


# ---------------------------------------------------------------- hires fix


def test_the_enlarged_size_is_in_the_models_multiples():
    assert hires_size(make_model(), 128, 96, 1.3) == (160, 128)


def test_a_size_that_the_model_cannot_draw_is_refused_with_what_it_can():
    assert refusal(hires=2.5) == (
        "hires",
        "hires is 2.5, but must be 1.1 to 2 here: the model draws at most 256 px a side.",
    )
    assert fill(hires=2.0)["hires"] == 2.0


def test_a_picture_that_is_already_at_the_limit_cannot_be_enlarged():
    option, sentence = refusal(hires=1.1, width=256)

    assert option == "hires"
    assert sentence.startswith("A picture of this size cannot be enlarged")


def test_strength_without_an_input_picture_is_that_of_the_second_pass():
    assert fill(hires=1.5, strength=0.4)["strength"] == 0.4
    assert fill(hires=1.5)["strength"] == HIRES_STRENGTH
    assert "strength" not in fill()
    assert refusal(strength=0.4)[0] == "strength"


def test_the_second_pass_is_in_the_price():
    model, rates = make_model(step_s=1.0, overhead_s=0.0), Rates()

    def cost(**options):
        command = Imagine.from_options({"prompt": "a fox", **options})
        return price(command, model, command.fill_options(model, 0), rates)

    assert cost(hires=2.0) == 5 * cost()
    assert cost(hires=2.0, strength=0.3) == 5 * cost()


# ---------------------------------------------------------------- variations


def test_a_variation_strength_without_a_seed_draws_one():
    drawn = [fill(variation_strength=0.2, seed=seed)["variation_seed"] for seed in (1, 1, 2)]

    assert drawn[0] == drawn[1] != drawn[2]
    assert 0 <= drawn[0] <= MAX_SEED


def test_a_variation_seed_without_a_strength_gets_the_usual_one():
    assert fill(variation_seed=0) | {"variation_seed": 0, "variation_strength": 0.1} == fill(variation_seed=0)
    assert fill(variation_seed=3, variation_strength=0)["variation_strength"] == 0


# ---------------------------------------------------------------- samplers and schedules


@pytest.mark.parametrize(
    ("written", "sampler", "schedule"),
    [
        ("DPM++ 2M Karras", "dpmpp_2m", "karras"),
        ("dpmpp-2m", "dpmpp_2m", None),
        ("Euler", "euler", None),
    ],
)
def test_a_sampler_is_known_by_the_names_of_other_programs(written, sampler, schedule):
    filled = fill(sampler=written)

    assert (filled["sampler"], filled.get("schedule")) == (sampler, schedule)
    assert Imagine.from_text(f'a fox --sampler "{written}"').values["sampler"] == sampler


def test_a_schedule_that_is_given_goes_before_one_behind_the_sampler():
    assert fill(sampler="euler_k", schedule="beta")["schedule"] == "beta"


def test_a_schedule_that_the_sampler_does_not_take_is_refused_before_anything_is_charged():
    assert refusal(sampler="ddim", schedule="karras") == (
        "schedule",
        "The sampler \u201cddim\u201d takes these schedules: simple. Choose one, or another sampler.",
    )
    assert refusal(sampler="DPM++ 2M", schedule="beta")[0] == "schedule"


def test_an_unknown_sampler_is_refused():
    assert refusal(sampler="Restart")[0] == "sampler"


# ---------------------------------------------------------------- what the model lacks


@pytest.mark.parametrize(
    "option",
    [{"guidance_rescale": 0.7}, {"clip_skip": 2}, {"tiling": True}, {"variation_seed": 1}, {"hires": 1.5}],
)
def test_what_the_model_is_known_to_lack_is_refused(option):
    lacking = make_model(capabilities={"row_options": []})

    assert refusal(model=lacking, **option)[1].startswith("The model \u201ctiny\u201d does not support")
    assert fill(model=make_model(capabilities={}), **option)  # before it was ever loaded, nothing is known


def test_an_image_to_image_pipeline_may_lack_more():
    assert refusal(images=(INIT,), guidance_rescale=0.5)[0] == "guidance_rescale"
    assert refusal(hires=1.5, guidance_rescale=0.5)[0] == "guidance_rescale"
    assert fill(guidance_rescale=0.5)["guidance_rescale"] == 0.5


def test_a_clip_skip_of_one_skips_nothing_and_a_high_one_is_refused():
    assert fill(model=make_model(capabilities={"row_options": []}), clip_skip=1)["clip_skip"] == 1
    assert refusal(clip_skip=5)[1] == "clip_skip is 5, but must be 1 to 4."


@pytest.mark.parametrize("option", [{"hires": 1.5}, {"tiling": True}, {"variation_seed": 1}])
def test_a_mask_excludes_what_is_about_the_whole_picture(option):
    assert refusal(images=(INIT, MASK), **option)[1].endswith("where only a part is repainted: leave it out.")


def test_no_pipeline_with_controls_rescales_guidance():
    assert "control picture" in refusal(images=(CONTROL,), guidance_rescale=0.5)[1]
