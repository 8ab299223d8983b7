"""What Open WebUI and SillyTavern send, call by call, as they are without any settings of their owners."""

import asyncio
import base64
import json

import pytest

from tests.sdapi.sd_client import get, jobs_of, open_picture, post, refusal, until_running

pytestmark = pytest.mark.asyncio(loop_scope="module")

SILLY_TAVERN = {
    "url": "http://127.0.0.1:8000",
    "auth": "",
    "prompt": "best quality, absurdres, aesthetic, a red circle",
    "negative_prompt": "lowres, bad anatomy, bad hands, text, error, cropped, worst quality, low quality",
    "sampler_name": "DDIM",
    "scheduler": "normal",
    "steps": 20,
    "cfg_scale": 7,
    "width": 512,
    "height": 512,
    "restore_faces": False,
    "enable_hr": False,
    "hr_upscaler": "Latent",
    "hr_scale": 1,
    "hr_additional_modules": [],
    "denoising_strength": 0.7,
    "hr_second_pass_steps": 0,
    "override_settings": {"CLIP_stop_at_last_layers": 1},
    "override_settings_restore_afterwards": True,
    "clip_skip": 1,
    "save_images": True,
    "send_images": True,
    "do_not_save_grid": False,
    "do_not_save_samples": False,
}
"""The body of its image generation with its default settings, which its server passes on as a whole. A random seed is
left out. Source: SillyTavern, `generateAutoImage` in `public/scripts/extensions/stable-diffusion/index.js`."""
_FACES = {"ADetailer": {"args": [True, True, {"ad_model": "face_yolov8n.pt"}]}}
_CHOSEN = {"seed": 5, "enable_hr": True, "hr_scale": 1.5, "override_settings": {"sd_vae": "vae-ft-mse.safetensors"}}
OPEN_WEBUI = {"prompt": "a red circle", "batch_size": 1, "width": 512, "height": 512, "steps": 50}
"""With its default settings. Source: Open WebUI, `backend/open_webui/routers/images.py`."""
_UNDEFINED = {"Authorization": f"Basic {base64.b64encode(b'undefined').decode()}"}


@pytest.mark.parametrize("header", [_UNDEFINED, {"Authorization": "Basic"}])
async def test_silly_tavern_connects_and_draws_without_a_password(shared_client, header):
    lists = ("samplers", "schedulers", "sd-models", "upscalers", "latent-upscale-modes", "sd-vae", "sd-modules")
    found = {path: await get(shared_client, path, **header) for path in lists}
    current = (await get(shared_client, "options", **header))["sd_model_checkpoint"]

    answer = await post(shared_client, "txt2img", SILLY_TAVERN, **header)
    chosen = await post(shared_client, "txt2img", {**SILLY_TAVERN, **_CHOSEN, "width": 64, "height": 64}, **header)

    assert current in [one["title"] for one in found["sd-models"]]
    assert "DDIM" in [one["name"] for one in found["samplers"]]
    assert open_picture(answer["images"][0]).size == (64, 64)
    assert json.loads(answer["info"])["ignored"] == ["size 512x512: 64x64"]
    assert json.loads(chosen["info"])["ignored"] == ["override_settings.sd_vae"]
    [job] = await jobs_of(shared_client, json.loads(chosen["info"]))
    assert (job["options"]["seed"], job["options"]["hires"], job["options"]["strength"]) == (5, 1.5, 0.7)


async def test_silly_tavern_is_told_that_nothing_here_finds_faces(shared_client):
    body = {**SILLY_TAVERN, "alwayson_scripts": _FACES}
    answer = await shared_client.post("/sdapi/v1/txt2img", json=body, headers=_UNDEFINED)

    assert "easel models use clipseg" in refusal(answer, 422)


async def test_silly_tavern_selects_a_model_and_waits_until_it_is_ready(keyed, new_caller):
    client, header = keyed, await new_caller()

    await post(client, "options", {"sd_model_checkpoint": "demo"}, **header)
    progress = await get(client, "progress", **header)

    assert (progress["progress"], progress["state"]["job_count"]) == (0.0, 0)
    assert (await get(client, "options", **header))["sd_model_checkpoint"] == "demo"


async def test_silly_tavern_stops_a_picture(keyed, new_caller):
    header, body = await new_caller(), {**SILLY_TAVERN, "prompt": "slow"}
    drawing = asyncio.create_task(keyed.post("/sdapi/v1/txt2img", json=body, headers=header))
    await until_running(keyed, **header)

    assert await post(keyed, "interrupt", **header) == {}

    assert (await drawing).status_code == 409


async def test_open_webui_connects_selects_a_model_and_draws(keyed, new_caller):
    client, header = keyed, await new_caller()
    options = await get(client, "options", **header)
    models = [{"id": one["title"], "name": one["model_name"]} for one in await get(client, "sd-models", **header)]

    await post(client, "options", {**options, "sd_model_checkpoint": models[1]["id"]}, **header)
    chosen = {
        "batch_size": 2,
        "negative_prompt": "fog",
        "cfg_scale": 5.0,
        "sampler_name": "Euler",
        "scheduler": "Karras",
    }
    answer = await post(client, "txt2img", {**OPEN_WEBUI, **chosen}, **header)

    info = json.loads(answer["info"])
    assert len(answer["images"]) == 2
    assert info["sd_model_name"] == models[1]["id"]


@pytest.mark.parametrize("header", ["", "Basic", "Basic Og=="])
async def test_open_webui_draws_without_a_password(shared_client, header):
    options = await get(shared_client, "options", authorization=header)
    answer = await post(shared_client, "txt2img", OPEN_WEBUI, authorization=header)

    assert options["sd_model_checkpoint"] == "paint"
    assert json.loads(answer["info"])["ignored"] == ["size 512x512: 64x64"]
