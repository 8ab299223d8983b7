"""`txt2img` and `img2img` over HTTP."""

import base64
import io
import json
import re
from typing import Any

import pytest
from PIL import Image

from bot.errors import InvalidOption
from bot.models import IMAGE_TEXT_TO_IMAGE, ModelSpec
from bot.ports import ModelCapabilities
from bot.prompts.styles import StyleSettings
from tests.sdapi.sd_client import DATA_URL, PICTURE, draw, jobs_of, open_picture, post, refusal
from tests.web.conftest import open_client, open_easel

pytestmark = pytest.mark.asyncio(loop_scope="module")
TXT2IMG, IMG2IMG = "/sdapi/v1/txt2img", "/sdapi/v1/img2img"


@pytest.fixture
def client(shared_client):
    return shared_client


async def test_a_picture_comes_as_plain_base64_with_what_it_was_made_with(client):
    fields = {"steps": 4, "cfg_scale": 3.5, "width": 64, "height": 128, "seed": 7, "sampler_name": "DDIM"}
    answer = await post(client, "txt2img", {"prompt": "a fox", "negative_prompt": "fog", **fields})

    info = json.loads(answer["info"])
    assert open_picture(answer["images"][0]).size == (64, 128)
    assert answer["parameters"] == {"prompt": "a fox", "negative_prompt": "fog", **fields}
    expected = {"prompt": "a fox", "negative_prompt": "fog", "seed": 7, "all_seeds": [7], "steps": 4, "cfg_scale": 3.5}
    expected |= {"sampler_name": "DDIM", "sd_model_name": "paint", "width": 64, "height": 128, "all_prompts": ["a fox"]}
    assert {name: info[name] for name in expected} == expected
    assert info["infotexts"][0].startswith("a fox\n")
    assert info["ignored"] == []
    assert info["job_timestamp"].isdecimal()


async def test_a_batch_is_split_into_jobs_with_seeds_in_a_row(client):
    pictures, info = await draw(client, batch_size=3, n_iter=2, seed=10)

    jobs = await jobs_of(client, info)
    assert [job["options"]["count"] for job in jobs] == [4, 2]
    assert info["all_seeds"] == [10, 11, 12, 13, 14, 15]
    assert len(pictures) == len(info["infotexts"]) == info["batch_size"] == 6


async def test_a_seed_of_minus_one_is_drawn_and_told(client):
    seeds = {(await draw(client, seed=seed, n_iter=2))[1]["seed"] for seed in (-1, -1, None)}

    assert len(seeds) == 3


async def test_a_variation_seed_counts_on_through_a_batch(client):
    _, info = await draw(client, n_iter=5, seed=1, subseed=100, subseed_strength=0.3)

    jobs = await jobs_of(client, info)
    assert [job["options"]["variation_seed"] for job in jobs] == [100, 104]
    assert info["all_subseeds"] == [100, 101, 102, 103, 104]
    assert info["subseed_strength"] == 0.3


async def test_what_has_no_effect_is_named(client):
    fields: dict[str, Any] = {
        "restore_faces": True,
        "refiner_checkpoint": "xl",
        "styles": ["ink", "no-such"],
        "unheard_of": 1,
    }
    fields |= {"alwayson_scripts": {"Never OOM": {"args": [True]}, "roop": {"args": [False]}}}
    fields |= {"override_settings": {"sd_vae": "my-vae", "eta_noise_seed_delta": 31337, "sd_vae_overrides": None}}
    _, info = await draw(client, **fields)

    named = {"restore_faces", "refiner_checkpoint", "unheard_of", "style no-such", "script never oom"}
    assert set(info["ignored"]) == named | {"override_settings.sd_vae", "override_settings.eta_noise_seed_delta"}


async def test_an_image_or_number_without_an_effect_is_named_although_the_call_drops_it(client):
    body = b'{"prompt": "a fox", "refiner_image": "%s", "s_tmax": Infinity}' % (b"A" * 20_000)
    answer = await client.post(TXT2IMG, content=body)

    assert json.loads(answer.json()["info"])["ignored"] == ["refiner_image", "s_tmax"]


@pytest.mark.parametrize(
    "scripts",
    [{"controlnet": {"args": {"module": "canny"}}}, {"ControlNet": {"args": [True, "canny", "model"]}},
     {"controlnet": "canny"}],
)  # fmt: skip
async def test_arguments_that_are_no_units_are_named(client, scripts):
    _, info = await draw(client, alwayson_scripts=scripts)

    assert info["ignored"] == ["script controlnet"]


async def test_alt_texts_and_what_the_policy_hides_are_told(tmp_path):
    async with open_easel(tmp_path, local_policy="spoiler") as easel:
        await easel.serve()
        async with open_client(easel) as client:
            infos = [(await draw(client, prompt=prompt))[1] for prompt in ("a nude", "a fox")]

    assert [info["spoilers"] for info in infos] == [[True], [False]]
    assert all(len(info["alts"]) == 1 and info["alts"][0] for info in infos)


async def test_a_style_is_applied_by_its_name(client):
    _, info = await draw(client, prompt="a fox", styles=["Ink"])

    assert info["prompt"] == "ink drawing of a fox"
    assert info["negative_prompt"] == "colour"


async def test_several_styles_are_written_into_the_prompt(server, monkeypatch):
    soft = StyleSettings(prompt="soft light", negative="noise")
    monkeypatch.setitem(server.usecases.names.resolver.styles, "soft", soft)
    async with open_client(server) as client:
        _, info = await draw(client, prompt="a fox", styles=["ink", "soft"], negative_prompt="fog")

    assert info["prompt"] == "ink drawing of a fox, soft light"
    assert info["negative_prompt"] == "fog, colour, noise"


async def test_what_a_model_lacks_is_left_out_as_soon_as_it_is_known(server, monkeypatch):
    run_task = server.pool.run_task

    async def run(task):
        if task.options.get("clip_skip"):
            yield ModelCapabilities(model="paint", capabilities={"row_options": []})
            raise InvalidOption("clip_skip", "model_lacks", value="paint")
        async for event in run_task(task):
            yield event

    monkeypatch.setattr(server.pool, "run_task", run)

    async with open_client(server) as client:
        _, info = await draw(client, clip_skip=2)

    assert info["ignored"] == ["CLIP_stop_at_last_layers 2"]
    assert info["clip_skip"] == 1


async def test_hires_fix_has_the_strength_of_its_second_pass(client):
    _, info = await draw(client, width=64, height=64, enable_hr=True, hr_scale=1.5, denoising_strength=0.4)
    _, by_size = await draw(client, width=64, height=64, enable_hr=True, hr_resize_x=128, hr_resize_y=128)
    _, plain = await draw(client, enable_hr=False, hr_scale=2, denoising_strength=0.4)

    [job], [sized], [without] = [await jobs_of(client, one) for one in (info, by_size, plain)]
    assert (job["options"]["hires"], job["options"]["strength"]) == (1.5, 0.4)
    assert sized["options"]["hires"] == 2
    assert "hires" not in without["options"]
    assert plain["ignored"] == []


@pytest.mark.parametrize(
    ("asked", "made"), [((1024, 512), (88, 64)), ((500, 500), (64, 64)), ((100, 70), (96, 72)), ((8, 16), (64, 128))]
)
async def test_a_size_that_the_model_lacks_becomes_one_that_it_draws_well(client, asked, made):
    pictures, info = await draw(client, width=asked[0], height=asked[1], steps=90)

    assert pictures[0].size == made
    assert info["ignored"] == ["steps 90: 50", f"size {asked[0]}x{asked[1]}: {made[0]}x{made[1]}"]


async def test_a_sampler_that_the_model_lacks_is_left_out_and_named(client):
    _, info = await draw(client, sampler_name="DPM++ 2M Karras", scheduler="Automatic")

    assert info["sampler_name"] == "Euler"
    assert info["ignored"] == ["sampler_name dpmpp_2m"]


async def test_an_override_chooses_the_model_of_one_call(client):
    overrides = {"sd_model_checkpoint": "demo.safetensors [0123456789]", "CLIP_stop_at_last_layers": 2}
    _, info = await draw(client, override_settings=overrides)
    _, after = await draw(client)

    assert (info["sd_model_name"], after["sd_model_name"]) == ("demo", "paint")
    assert (await jobs_of(client, info))[0]["options"]["clip_skip"] == 2


async def test_pictures_can_be_left_out_of_the_answer(client):
    answer = await post(client, "txt2img", {"prompt": "a fox", "send_images": False})

    assert answer["images"] == []
    assert len(json.loads(answer["info"])["all_seeds"]) == 1


async def test_a_choice_in_the_prompt_makes_every_combination(client):
    pictures, info = await draw(client, prompt="a {red|blue} fox", seed=1)

    assert len(pictures) == 2
    assert info["all_prompts"] == ["a red fox", "a blue fox"]


# ---------------------------------------------------------------- from an image


@pytest.mark.parametrize("image", [PICTURE, DATA_URL])
async def test_an_image_is_changed_as_far_as_the_strength_says(client, image):
    pictures, info = await draw(client, "img2img", init_images=[image], denoising_strength=0.3, seed=3)

    [job] = await jobs_of(client, info)
    assert [one["role"] for one in job["images"]] == ["init"]
    assert job["options"]["strength"] == info["denoising_strength"] == 0.3
    assert pictures[0].width > pictures[0].height


async def test_a_model_that_edits_by_instruction_gets_no_strength(server):
    editor = ModelSpec(name="editor", tasks=(IMAGE_TEXT_TO_IMAGE,), repo="e", width=64, height=64, max_images=3)
    server.usecases.models.add_model(editor)
    server.pool.set_models([editor])
    overrides = {"sd_model_checkpoint": "editor"}
    async with open_client(server) as client:
        given = {"init_images": [PICTURE], "image_cfg_scale": 2, "denoising_strength": 0.4}
        _, info = await draw(client, "img2img", override_settings=overrides, **given)
        [job] = await jobs_of(client, info)

    assert (job["command"], job["options"]["model"]) == ("edit", "editor")
    assert job["options"]["image_guidance_scale"] == 2
    assert "strength" not in job["options"]
    assert info["ignored"] == ["denoising_strength 0.4"]


async def test_the_answer_repeats_no_image(client):
    answer = await post(client, "img2img", {"prompt": "a fox", "init_images": [PICTURE], "mask": PICTURE})

    assert answer["parameters"] == {"prompt": "a fox", "init_images": None, "mask": None}


async def test_several_images_are_changed_one_after_another(client):
    _, info = await draw(client, "img2img", init_images=[PICTURE, DATA_URL], seed=5, n_iter=2)

    assert info["all_seeds"] == [5, 6]


async def test_a_mask_is_inverted_and_repaints_its_part_alone(client, shared_server):
    half = picture_of_half()
    fields = {"init_images": [PICTURE], "mask": half, "mask_blur": 0}
    _, info = await draw(client, "img2img", **fields, inpainting_mask_invert=1)
    _, whole = await draw(client, "img2img", **fields, inpaint_full_res=False, width=64, height=64, resize_mode=0)

    [job], [resized] = await jobs_of(client, info), await jobs_of(client, whole)
    assert [one["role"] for one in job["images"]] == ["init", "mask"]
    assert (job["options"]["inpaint_area"], resized["options"]["inpaint_area"]) == ("masked", "whole")
    mask = await stored(shared_server, job["images"][1]["id"])
    assert (mask.size, mask.convert("L").getpixel((2, 2)), mask.convert("L").getpixel((45, 2))) == ((48, 32), 0, 255)
    assert (await stored(shared_server, resized["images"][1]["id"])).size == (64, 64)
    assert (await stored(shared_server, resized["images"][0]["id"])).size == (64, 64)


@pytest.mark.parametrize(("mode", "size"), [(0, (64, 64)), (1, (48, 32)), (2, (64, 64))])
async def test_the_resize_mode_fits_an_image_to_another_shape(client, shared_server, mode, size):
    _, info = await draw(client, "img2img", init_images=[PICTURE], width=64, height=64, resize_mode=mode)

    [job] = await jobs_of(client, info)
    assert (await stored(shared_server, job["images"][0]["id"])).size == size


def picture_of_half():
    """White on the left."""
    image = Image.new("L", (48, 32), 0)
    image.paste(255, (0, 0, 24, 32))
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


async def stored(easel, media_id):
    media = await easel.storage.media.read_media(media_id, None)
    return Image.open(io.BytesIO(media.data))


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": None}, "prompt is empty"),
        ({"prompt": "{a|b}" * 6 + "c" * 2000}, "the limit is 2000"),
        ({"prompt": "a {red|blue} {fox|owl}", "n_iter": 26}, "its 4 combinations make 104 images"),
        ({"prompt": 7}, "prompt is 7, but must be a text"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": "many"}, "steps is many, but must be a number"),
        ({"steps": 1.5}, "a whole number"),
        ({"cfg_scale": 31}, "cfg_scale is 31"),
        ({"cfg_scale": "nan"}, "cfg_scale is nan"),
        ({"width": 5000}, "width is 5000"),
        ({"width": -1}, "width is -1"),
        ({"seed": -2}, "seed is -2"),
        ({"seed": 4294967295, "n_iter": 2}, "seed is 4294967295"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 50, "n_iter": 3}, "n_iter is 3, but must be 1 to 2"),
        ({"sampler_name": "No Such"}, "sampler_name cannot be No Such"),
        ({"override_settings": {"sd_model_checkpoint": "pain"}}, "Did you mean paint?"),
        ({"override_settings": {"sd_model_checkpoint": "look"}}, "sd_model_checkpoint cannot be look"),
        ({"override_settings": []}, "must be an object"),
        ({"styles": "ink"}, "styles is ink, but must be a list"),
        ({"script_name": "prompt matrix"}, "script_name cannot be prompt matrix"),
        ({"enable_hr": True, "hr_scale": 9}, "hr_scale is 9"),
        ({"prompt": "a <lora:none:1>"}, "There is no LoRA none"),
    ],
)
async def test_what_is_wrong_is_told_in_their_form_and_names(client, fields, sentence):
    answer = await client.post(TXT2IMG, json={"prompt": "a fox", **fields})

    assert sentence in refusal(answer, 422)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "init_images is required"),
        ({"init_images": []}, "init_images is required"),
        ({"init_images": [PICTURE] * 9}, "the limit here is 8"),
        ({"init_images": ["http://127.0.0.1:1/a.png"]}, "addresses are not fetched"),
        ({"init_images": ["not base64!"]}, "it must be an image in base64"),
        ({"init_images": [PICTURE], "mask": "file:///etc/passwd"}, "addresses are not fetched"),
        ({"init_images": [PICTURE], "denoising_strength": 2}, "denoising_strength is 2"),
        ({"init_images": [PICTURE], "mask_blur": 1e9, "mask": PICTURE}, "mask_blur is"),
    ],
)
async def test_what_is_wrong_with_an_image_is_told(client, fields, sentence):
    answer = await client.post(IMG2IMG, json={"prompt": "a fox", **fields})

    assert sentence in refusal(answer, 422)


async def test_an_image_that_is_none_is_refused(client):
    answer = await client.post(IMG2IMG, json={"prompt": "a fox", "init_images": ["aGVsbG8="]})

    assert "not a picture" in refusal(answer, 415)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"prompt": "a", "prompt": "b"}', b"[" * 100_000])
async def test_a_body_that_is_no_object_is_refused(client, body):
    answer = await client.post(TXT2IMG, content=body, headers={"Content-Type": "application/json"})

    assert refusal(answer, 422)


async def test_a_failure_has_an_incident_and_no_traceback(client):
    answer = await client.post(TXT2IMG, json={"prompt": "fail"})

    sentence = refusal(answer, 500)
    assert "secret" not in sentence
    assert len(re.findall(r"[0-9a-f]{8}", sentence)) == 1


async def test_a_blocked_picture_is_a_sentence(tmp_path):
    async with open_easel(tmp_path, local_policy="block") as easel:
        await easel.serve()
        async with open_client(easel) as client:
            made = await client.post(TXT2IMG, json={"prompt": "a nude"})
            words = await client.post(TXT2IMG, json={"prompt": "a nude child"})

    assert "isn't allowed here" in refusal(made, 422)
    assert "never allowed" in refusal(words, 422)


async def test_more_than_the_queue_takes_leaves_nothing_behind(server, client):
    answer = await client.post(TXT2IMG, json={"prompt": "a fox", "n_iter": 100})

    assert refusal(answer, 429)
    waiting = (await client.get("/api/v1/jobs?state=queued")).json()["jobs"]
    assert [job["cancel_requested"] for job in waiting if not job["cancel_requested"]] == []


@pytest.mark.parametrize(("method", "path"), [("GET", "nothing"), ("GET", "txt2img"), ("DELETE", "options")])
async def test_unknown_paths_and_methods_have_their_form_as_well(client, method, path):
    answer = await client.request(method, f"/sdapi/v1/{path}")

    assert refusal(answer, 404 if path == "nothing" else 405)
