"""Settings from a file become a request that is accepted here, and everything that changes is told."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.commands import Imagine
from bot.errors import InvalidOption
from bot.jobs import ImageRef, Media
from bot.models import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, TEXT_TO_IMAGE, ModelRegistry
from bot.ports import PromptAddon
from bot.usecases.recalled import RecalledRequests, fit_settings
from bot.usecases.requests import Request
from tests.fakes import FakeMediaStore, make_model, make_origin, make_person

TASKS = (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)
SMALL = make_model(
    name="small",
    tasks=TASKS,
    max_steps=30,
    max_size=512,
    size_multiple=64,
    samplers=("euler", "ddim"),
    takes_negative=False,
    takes_guidance=False,
    capabilities={"family": "sd"},
)
LARGE = make_model(name="sd-xl-base", title="SD XL 1.0", tasks=TASKS, max_size=2048, capabilities={"family": "sdxl"})
MODELS = ModelRegistry({one.name: one for one in (SMALL, LARGE)})


def fit(options, models=MODELS, addons=(), **more):
    found = fit_settings({"source": "a1111", "command": "imagine", "options": options, **more}, models, lambda: addons)
    Imagine.from_options(found.options).fill_options(models.get(found.options.get("model", "small")), 0)
    return found


def test_settings_that_are_possible_here_are_kept_without_a_word():
    options = {"prompt": "a cat", "steps": 20, "seed": 7, "width": 512, "height": 320, "sampler": "ddim"}

    found = fit(options)

    assert (found.options, found.notes) == (options, ())


ROW_OPTIONS = {"hires": 1.5, "strength": 0.4, "variation_seed": 9, "variation_strength": 0.2, "clip_skip": 2}


def test_options_of_single_images_come_back():
    options = {"prompt": "a cat", "width": 256, "height": 256, "tiling": True, "guidance_rescale": 0.7} | ROW_OPTIONS
    options |= {"sampler": "euler", "schedule": "karras"}

    found = fit(options)

    assert (found.options, found.notes) == (options, ())


def test_hires_fix_beyond_the_model_is_left_out_with_its_strength():
    found = fit({"prompt": "a cat", "width": 512, "height": 512, "hires": 2.0, "strength": 0.4})

    assert found.options == {"prompt": "a cat", "width": 512, "height": 512}
    assert found.notes == ("hires is 2.0 in the picture's settings, which is not possible here: it is left out.",)


def test_a_schedule_that_the_sampler_does_not_take_is_left_out():
    knowing = replace(SMALL, capabilities={"schedules": {"ddim": ["simple"]}})
    options = {"prompt": "a cat", "sampler": "ddim", "schedule": "karras"}

    found = fit(options, ModelRegistry({"small": knowing}))

    assert found.options == {"prompt": "a cat", "sampler": "ddim"}
    assert len(found.notes) == 1


def test_controls_and_references_are_told_because_their_pictures_are_not_in_the_file():
    used = [{"role": "control", "kind": "canny"}, {"role": "reference", "kind": "style"}]

    assert fit({"prompt": "a cat"}, images=used).notes == (
        "The picture was made with a control picture (canny): without that one, it is left out.",
        "The picture was made with a reference picture (style): without that one, it is left out.",
    )


@pytest.mark.parametrize(
    ("changed", "becomes", "note"),
    [
        ({"steps": 200}, {"steps": 30}, "steps is 200 in the picture's settings: here it becomes 30."),
        ({"steps": 0}, {"steps": 1}, "steps is 0 in the picture's settings: here it becomes 1."),
        (
            {"width": 1536, "height": 1024},
            {"width": 512, "height": 320},
            "size is 1536x1024 in the picture's settings: here it becomes 512x320.",
        ),
        ({"width": 500, "height": 300}, {"width": 512, "height": 320}, "size is 500x300"),
        ({"seed": 2**50}, {}, "seed is 1125899906842624 in the picture's settings, which is not possible here"),
        ({"sampler": "unipc"}, {}, "sampler is unipc in the picture's settings, which is not possible here"),
        ({"negative_prompt": "dog"}, {}, "negative_prompt is dog in the picture's settings"),
        ({"guidance_scale": 7.5}, {}, "guidance_scale is 7.5 in the picture's settings"),
        ({"strength": 0.5}, {}, "The picture was made from another one, with strength 0.5"),
        ({"model": "Juggernaut.safetensors"}, {}, "The picture was made with Juggernaut.safetensors, which is not"),
        ({"zoom": 3}, {}, "zoom is 3 in the picture's settings, which is not possible here: it is left out."),
        ({"model": "checkpoints/SD_XL_base.safetensors"}, {"model": "sd-xl-base"}, None),
        ({"model": "sd xl 1.0"}, {"model": "sd-xl-base"}, None),
    ],
)
def test_what_is_not_possible_is_changed_and_told(changed, becomes, note):
    found = fit({"prompt": "a cat"} | changed)

    assert found.options == {"prompt": "a cat"} | becomes
    assert [one.startswith(note) for one in found.notes] == [True] if note else found.notes == ()


def test_a_long_prompt_is_cut():
    words, letters = fit({"prompt": "a fox, " * 500}), fit({"prompt": "x" * 3000})

    assert words.options["prompt"] == ("a fox, " * 286)[:-2]
    assert words.notes == ("prompt has 3500 characters in the picture's settings: the first 2000 are used.",)
    assert letters.options["prompt"] == "x" * 2000


def test_a_sampler_that_no_model_has_is_told():
    assert fit({"prompt": "a cat"}, left_out={"sampler": "DPM adaptive"}).notes == (
        "sampler is DPM adaptive in the picture's settings, which is not possible here: it is left out.",
    )


def test_loras_that_are_not_installed_for_the_model_are_left_out():
    families = {"ink": "sd", "oil": "sdxl"}
    addons = [PromptAddon(name=name, kind="lora", family=family, size=1) for name, family in families.items()]

    found = fit({"prompt": "a cat <lora:Ink:0.8> <lora:oil:1> <lyco:chalk>"}, addons=addons)

    assert found.options["prompt"] == "a cat <lora:Ink:0.8>"
    assert [note.partition("LoRA ")[2].partition(",")[0] for note in found.notes] == ["oil", "chalk"]


@pytest.mark.parametrize("command", ["caption", "upscale", "nothing", None])
def test_only_requests_without_an_image_are_recalled(command):
    assert fit_settings({"command": command, "options": {"prompt": "a cat"}}, MODELS) is None


def test_without_a_model_there_is_nothing_to_recall():
    models = ModelRegistry({"words": make_model(name="words", tasks=(IMAGE_TO_TEXT,))})

    assert fit_settings({"command": "imagine", "options": {"prompt": "a cat"}}, models) is None


@given(
    options=st.dictionaries(
        st.sampled_from([spec.name for spec in Imagine.specs] + ["unknown"]),
        st.text(max_size=30) | st.integers() | st.floats(allow_nan=False) | st.booleans(),
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_file_says_is_accepted_or_not_offered(options):
    found = fit_settings({"command": "imagine", "options": options}, MODELS)

    if found is not None:
        model = MODELS.get(found.options.get("model") or "small")
        assert model is not None
        Imagine.from_options(found.options).fill_options(model, 0)


# ---------------------------------------------------------------- requests that repeat a file

REFUSED = InvalidOption("steps", "range", value=200)
TOLD = {"prompt": "cat " * 1000, "steps": 200, "seed": 2**63, "width": 2048, "height": 2048, "model": "dream.ckpt"}
FITTED = {"prompt": ("cat " * 500)[:-1], "steps": 30, "width": 512, "height": 512}


async def fit_request(options, told=TOLD, *, owner="ann", **request):
    media = FakeMediaStore()
    parameters = {"source": "a1111", "command": "imagine", "options": told}
    await media.add_upload(owner, Media(b"photo", "image/png"), width=8, height=8, parameters=parameters)
    asked = Request(origin=make_origin(), command="imagine", options=options, **request)
    return await RecalledRequests(media, MODELS, list).fit(make_person(), asked, REFUSED)


async def test_a_request_that_repeats_a_file_is_fitted_and_its_result_tells_what_changed():
    found = await fit_request(TOLD)

    assert found.options == FITTED
    assert len(found.origin.extra["notes"]) == 5


async def test_a_request_may_add_to_what_a_file_says_and_leave_some_of_it_out():
    found = await fit_request({"prompt": TOLD["prompt"], "steps": 200, "count": 2})

    assert found.options == {"prompt": FITTED["prompt"], "steps": 30, "count": 2}


async def test_with_an_input_image_the_strength_of_a_file_is_kept():
    told = {"prompt": "a cat", "strength": 0.5, "steps": 200}

    found = await fit_request(told, told, images=(ImageRef("id"),))

    assert found.options == {"prompt": "a cat", "strength": 0.5, "steps": 30}


@pytest.mark.parametrize(
    ("options", "more"),
    [
        (TOLD | {"steps": 201}, {}),
        (TOLD | {"prompt": "a dog"}, {}),
        ({"steps": 200}, {}),
        (TOLD, {"owner": "ben"}),
        (TOLD, {"line": "a cat"}),
    ],
    ids=["another number", "another prompt", "no prompt", "somebody else's file", "a typed line"],
)
async def test_what_a_person_asks_for_is_not_changed(options, more):
    with pytest.raises(InvalidOption) as refused:
        await fit_request(options, **more)

    assert refused.value is REFUSED
