"""What repeats a job: the words as they were typed, and nothing that the defaults give."""

from dataclasses import replace
from typing import Any

import pytest

from bot.commands import COMMANDS
from bot.errors import JobNotFound
from bot.jobs import StoredImage
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_UPSCALING, TASKS, ModelRegistry
from bot.ports import PromptAddon
from bot.prompts.resolver import PromptResolver
from bot.prompts.styles import StyleSettings
from bot.prompts.wildcards import WildcardFolder
from bot.usecases.recipes import RecipeUseCases
from tests.bot.usecases.test_jobs import ANN, BOB, Harness, make_request, upload
from tests.fakes import make_model, make_origin, make_result

STYLES = {"ink": StyleSettings(prompt="ink drawing of {prompt}", negative="colour")}
CONTROLS = {"canny": "fox-canny", "style": "fox-style", "subject": "fox-subject"}
IMAGES = {"canny": ("control", "canny"), "style": ("reference", "style")}
REQUESTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "imagine": ({"prompt": "a __animal__", "style": "ink", "steps": 12, "aspect": "3:2"}, ()),
    "imagine-default-value": ({"prompt": "a fox", "steps": 10, "count": 1}, ()),
    "imagine-photo": ({"prompt": "a fox", "strength": 0.4, "model": "fox-diffusion"}, ("init",)),
    "imagine-mask": ({"prompt": "a fox", "inpaint_area": "whole"}, ("init", "mask")),
    "imagine-region": ({"prompt": "a crown", "region": "the hat", "keep": True}, ("init",)),
    "imagine-control": ({"prompt": "a fox", "size": "256x512"}, ("canny", "style")),
    "imagine-detail": ({"prompt": "a fox", "detail": "face"}, ()),
    "imagine-hires": ({"prompt": "a fox", "hires": 1.5, "width": 256, "height": 256}, ()),
    "imagine-row": (
        {"prompt": "a fox", "sampler": "DPM++ 2M Karras", "variation_strength": 0.2, "clip_skip": 2, "tiling": True},
        (),
    ),
    "edit": ({"prompt": "make it red", "guidance_scale": 3.0}, ("init", "reference")),
    "zoom": ({"factor": 2, "prompt": "a beach"}, ("init",)),
    "pan": ({"prompt": "left"}, ("init",)),
    "square": ({"seed": 5}, ("init",)),
    "blend": ({"prompt": "a fox", "steps": 12}, ("reference", "reference")),
    "upscale": ({"scale": 3}, ("init",)),
    "upscale-refine": ({"prompt": "a fox", "method": "refine", "strength": 0.2}, ("init",)),
    "caption": ({"temperature": 0.5}, ("init",)),
    "ask": ({"question": "What is it?"}, ("init",)),
    "describe": ({"count": 2}, ("init",)),
    "match": ({"texts": "a fox | a cat"}, ("init",)),
    "preview": ({"region": "the hat"}, ("init",)),
    "preview-map": ({"kind": "canny"}, ("init",)),
    "cutout": ({"region": "a fox"}, ("init",)),
}  # fmt: skip


@pytest.fixture
def harness(tmp_path):
    (tmp_path / "animal.txt").write_text("fox\ncat\nowl")
    harness = Harness()
    harness.wording = PromptResolver(styles=STYLES, wildcards=WildcardFolder(tmp_path))
    set_models(harness)
    return harness


def set_models(harness, **overrides):
    tasks = tuple(task for task in TASKS if task not in (IMAGE_UPSCALING, IMAGE_TEXT_TO_IMAGE))
    plain = {"tasks": tasks, "controls": CONTROLS, "steps": 10}
    fox = make_model(**{**plain, **overrides})
    editor = make_model(name="fox-edit", tasks=(IMAGE_TEXT_TO_IMAGE,), max_images=4)
    harness.models = ModelRegistry({"fox-diffusion": fox, "fox-edit": editor})
    harness.jobs = harness.build()


async def submit(harness, command, options, roles, **overrides):
    images = []
    for number, role in enumerate(roles):
        image = await upload(harness, data=b"%d" % number)
        role, kind = IMAGES.get(role, (role, ""))
        images.append(replace(image, role=role, kind=kind, weight=0.7 if kind else 1.0))
    request = make_request(command=command, options=options, images=tuple(images), **overrides)
    (ticket,) = await harness.jobs.submit(ANN, request)
    return ticket.job


async def read(harness, job, person=ANN, addons=(), **arguments):
    recipes = RecipeUseCases(
        store=harness.store, media=harness.media, models=harness.models, list_addons=lambda: addons, styles=list(STYLES)
    )
    return await recipes.read_recipe(person, job.id, **arguments)


async def repeat(harness, recipe):
    images = tuple(image for image, is_there in recipe.images if is_there)
    request = make_request(command=recipe.job.command, options=recipe.options, images=images)
    return (await harness.jobs.submit(ANN, request))[0].job


def test_every_command_has_a_request():
    """But grids, whose cells are jobs of imagine and edit."""
    assert {name.partition("-")[0] for name in REQUESTS} == set(COMMANDS) - {"grid"}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_recipe_repeats_the_job_and_freezes_no_default(harness, name):
    options, roles = REQUESTS[name]
    job = await submit(harness, name.partition("-")[0], options, roles)

    recipe = await read(harness, job)

    again = await repeat(harness, recipe)
    assert (again.options, again.images, again.model, again.task) == (job.options, job.images, job.model, job.task)
    assert not recipe.notes
    frozen = recipe.options.keys() - {"seed", "schedule", "direction", "sampler"} - options.keys()
    assert frozen <= {"variation_seed"}, "nothing was drawn at random but the seeds"
    assert set(recipe.given).isdisjoint(recipe.defaults)


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_job_of_before_the_record_is_repeated_as_well(harness, name):
    options, roles = REQUESTS[name]
    job = await submit(harness, name.partition("-")[0], options, roles)
    harness.store.jobs[job.id] = replace(job, origin=make_origin())

    again = await repeat(harness, await read(harness, job))

    assert (again.options, again.images, again.model) == (job.options, job.images, job.model)


async def test_the_words_are_those_that_were_typed_and_the_style_has_its_name(harness):
    options, roles = REQUESTS["imagine"]
    job = await submit(harness, "imagine", {**options, "style": "INK"}, roles)

    recipe = await read(harness, job)

    assert job.options["prompt"].startswith("ink drawing of")
    assert recipe.words == {"prompt": "a __animal__", "style": "ink"}
    assert recipe.options["aspect"] == "3:2"
    assert {"prompt", "style", "steps", "aspect"} == set(recipe.given)
    assert {"guidance_scale", "width", "seed", "count"} <= recipe.defaults.keys()


async def test_a_job_of_a_batch_has_its_own_words(harness):
    request = make_request("a {red|green} fox", is_confirmed=True)
    _, second = await harness.jobs.submit(ANN, request)

    recipe = await read(harness, second.job)

    assert recipe.words == {"prompt": "a green fox"}
    assert recipe.options == {"prompt": "a green fox", "seed": second.job.options["seed"]}


async def test_what_is_no_default_any_more_is_kept(harness):
    job = await submit(harness, "imagine", {"prompt": "a fox"}, ())
    set_models(harness, steps=30, width=768, guidance_scale=2.0)

    recipe = await read(harness, job)

    assert recipe.options == {
        "prompt": "a fox", "steps": 10, "width": 512, "guidance_scale": 5.0, "seed": job.options["seed"],
    }  # fmt: skip
    assert (await repeat(harness, recipe)).options == job.options
    assert recipe.given == ["prompt"]


async def test_one_picture_has_its_own_seed_and_no_count(harness):
    job = await submit(harness, "imagine", {"prompt": "a fox", "count": 3, "seed": 7}, ())
    pictures = tuple(
        StoredImage(id=f"{n}" * 64, media_type="image/png", width=512, height=512, number=n) for n in (1, 3)
    )
    harness.store.jobs[job.id] = replace(job, result=make_result(media=pictures, seed=7, places=3))

    whole, third = await read(harness, job), await read(harness, job, picture=3)

    assert (whole.options["seed"], whole.options["count"]) == (7, 3)
    assert third.options == {"prompt": "a fox", "seed": 9}
    assert whole.seeds == [7, None, 9]


async def test_what_a_chat_repeats_is_told_apart_from_what_was_given(harness):
    parent = await submit(harness, "imagine", {"prompt": "a fox", "steps": 12}, ())
    repeated = {name: value for name, value in parent.options.items() if name != "seed"}
    origin = make_origin(platform="discord", space_id="guild", chat_id="5")

    job = await submit(harness, "imagine", repeated, (), origin=origin, parent=parent.id, wants_delivery=True)

    assert (await read(harness, job)).options.keys() == {"prompt", "steps", "seed"}


@pytest.mark.parametrize(
    ("name", "gone", "options", "note"),
    [
        ("imagine-photo", 0, {"prompt": "a fox", "model": "fox-diffusion"}, "(init) is deleted"),
        ("imagine-mask", 1, {"prompt": "a fox"}, "(mask) is deleted"),
        ("imagine-control", 0, {"prompt": "a fox", "size": "256x512"}, "(control) is deleted"),
        ("edit", 0, {"prompt": "make it red", "guidance_scale": 3.0}, "(init) is deleted"),
        ("zoom", 0, {"factor": 2, "prompt": "a beach"}, "(init) is deleted"),
    ],
)
async def test_a_deleted_image_is_said(harness, name, gone, options, note):
    job = await submit(harness, name.partition("-")[0], *REQUESTS[name])
    del harness.media.images[ANN.id, job.images[gone].id]

    recipe = await read(harness, job)

    assert [is_there for _, is_there in recipe.images] == [n != gone for n in range(len(job.images))]
    assert note in recipe.notes[0]
    kept = {key: value for key, value in recipe.options.items() if key in options}
    assert kept == options
    assert "strength" not in recipe.options


async def test_a_removed_model_lora_and_style_are_said(harness):
    harness.wording = replace(
        harness.wording, list_addons=lambda: [PromptAddon(name="ink-lines", kind="lora", family="", size=1)]
    )
    harness.jobs = harness.build()
    options = {"prompt": "a fox <lora:ink-lines:0.8>", "style": "ink", "model": "fox-diffusion"}
    job = await submit(harness, "imagine", options, ())
    harness.models = ModelRegistry({"owl": make_model(name="owl")})
    harness.jobs = harness.build()

    recipes = RecipeUseCases(
        store=harness.store, media=harness.media, models=harness.models, list_addons=list, styles=[]
    )
    recipe = await recipes.read_recipe(ANN, job.id)

    assert recipe.options == {"prompt": "a fox", "seed": job.options["seed"]}
    assert [note.partition(":")[0] for note in recipe.notes] == [
        "The style ink is no longer configured",
        "The picture was made with fox-diffusion, which is not installed here",
        "The picture's prompt uses the LoRA ink-lines, which is not installed here for owl",
    ]
    assert (await repeat(harness, recipe)).model == "owl"


async def test_a_recipe_is_its_owners(harness):
    job = await submit(harness, "imagine", {"prompt": "a fox"}, ())

    with pytest.raises(JobNotFound):
        await read(harness, job, person=BOB)
