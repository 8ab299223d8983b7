"""Enlarging, reading settings, captions, and ControlNet."""

import base64
import io

import pytest
from PIL import Image, PngImagePlugin

from tests.sdapi.sd_client import DATA_URL, PICTURE, draw, jobs_of, open_picture, post, refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")
INFOTEXT = (
    "a fox\nNegative prompt: fog\nSteps: 12, Sampler: Euler a, CFG scale: 4.5, Seed: 7, Size: 64x96, Model: paint, "
    'Version: "a, b"'
)


@pytest.fixture
def client(shared_client):
    return shared_client


def with_text(keyword, text):
    file, chunks = io.BytesIO(), PngImagePlugin.PngInfo()
    chunks.add_text(keyword, text)
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=chunks)
    return base64.b64encode(file.getvalue()).decode()


# ---------------------------------------------------------------- enlarging


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (96, 64)),
        ({"upscaling_resize": 3}, (144, 96)),
        ({"upscaling_resize": 1.5}, (72, 48)),
        ({"resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 100}, (100, 100)),
        ({"resize_mode": 1, "upscaling_resize_w": 96, "upscaling_resize_h": 32, "upscaling_crop": False}, (96, 64)),
    ],
)
async def test_an_image_is_enlarged_to_the_size_that_was_asked_for(client, fields, size):
    answer = await post(client, "extra-single-image", {"image": DATA_URL, "upscaler_1": "Lanczos", **fields})

    assert open_picture(answer["image"]).size == size
    assert "Postprocess upscaler: Lanczos" in answer["html_info"]


async def test_several_images_are_enlarged_in_their_order(client):
    small = base64.b64encode(picture_of((16, 16))).decode()
    items = [{"data": PICTURE, "name": "a"}, {"data": small, "name": "b"}, {"data": PICTURE, "name": "c"}]

    answer = await post(client, "extra-batch-images", {"imageList": items, "upscaling_resize": 2})

    assert [open_picture(text).size for text in answer["images"]] == [(96, 64), (32, 32), (96, 64)]


async def test_an_upscaler_that_is_not_here_gives_way_and_is_named(client):
    answer = await post(
        client, "extra-single-image", {"image": PICTURE, "upscaler_1": "R-ESRGAN 4x+", "gfpgan_visibility": 0.5}
    )

    assert "Ignored: upscaler_1 R-ESRGAN 4x+, gfpgan_visibility" in answer["html_info"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"upscaling_resize": 1}, "upscaling_resize is 1, but must be more than 1 and at most 4"),
        ({"upscaling_resize": 8}, "upscaling_resize is 8"),
        ({"resize_mode": 1, "upscaling_resize_w": 9, "upscaling_resize_h": 9}, "upscaling_resize_w is invalid"),
        ({"image": ""}, "image is invalid"),
        ({"image": "https://x.example/a.png"}, "addresses are not fetched"),
    ],
)
async def test_what_cannot_be_enlarged_is_told(client, fields, sentence):
    answer = await client.post("/sdapi/v1/extra-single-image", json={"image": PICTURE, **fields})

    assert sentence in refusal(answer, 422)


@pytest.mark.parametrize("items", [[], [{"data": PICTURE}] * 9, [7], "x"])
async def test_a_batch_has_one_to_eight_images(client, items):
    assert refusal(await client.post("/sdapi/v1/extra-batch-images", json={"imageList": items}), 422)


def picture_of(size):
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    return file.getvalue()


# ---------------------------------------------------------------- reading


async def test_settings_are_read_as_their_program_wrote_them(client):
    answer = await post(client, "png-info", {"image": with_text("parameters", INFOTEXT)})

    assert answer["info"] == answer["items"]["parameters"] == INFOTEXT
    read = answer["parameters"]
    assert (read["Prompt"], read["Negative prompt"], read["Steps"], read["Seed"]) == ("a fox", "fog", "12", "7")
    assert (read["Size-1"], read["Size-2"], read["Version"]) == ("64", "96", "a, b")


async def test_settings_of_other_programs_are_worded_like_its_own(client):
    novelai = '{"prompt": "a fox", "steps": 28, "seed": 5, "scale": 6.0, "sampler": "k_euler", "uc": "fog"}'
    answer = await post(client, "png-info", {"image": with_text("Comment", novelai)})

    assert answer["info"] == "a fox\nNegative prompt: fog\nSteps: 28, Sampler: Euler, CFG scale: 6.0, Seed: 5"
    assert answer["parameters"]["Steps"] == "28"


async def test_an_image_without_settings_has_none(client):
    assert await post(client, "png-info", {"image": PICTURE}) == {"info": "", "items": {}, "parameters": {}}


@pytest.mark.parametrize("model", ["clip", "deepdanbooru", "look", "", None, 7, ["look"]])
async def test_an_image_is_captioned(client, model):
    assert (await post(client, "interrogate", {"image": DATA_URL, "model": model}))["caption"] == "It is a picture"


# ---------------------------------------------------------------- ControlNet


async def control(client, path="txt2img", script="ControlNet", **unit):
    fields = {"init_images": [PICTURE]} if path == "img2img" else {}
    scripts = {script: {"args": [unit, {"enabled": False, "module": "nonsense"}, {"module": "none", "model": "None"}]}}
    _, info = await draw(client, path, width=64, height=64, alwayson_scripts=scripts, **fields)
    [job] = await jobs_of(client, info)
    return job, info


@pytest.mark.parametrize("script", ["ControlNet", "controlnet"])
async def test_a_unit_is_a_control(client, script):
    limits = {"weight": 0.7, "guidance_start": 0.1, "guidance_end": 0.8, "pixel_perfect": True}
    job, info = await control(client, script=script, image=PICTURE, module="canny", model="paint-canny", **limits)

    [image] = job["images"]
    assert (image["role"], image["kind"], image["weight"], image["ready"]) == ("control", "canny", 0.7, False)
    assert (image["start"], image["end"]) == (0.1, 0.8)
    assert info["ignored"] == []


async def test_a_map_that_is_ready_is_fitted_to_the_picture(client, shared_server):
    job, info = await control(
        client, image={"image": PICTURE, "mask": PICTURE}, module="none", model="control_v11p_sd15_canny [d14c]",
        control_mode="My prompt is more important", threshold_a=7,
    )  # fmt: skip

    [image] = job["images"]
    assert (image["kind"], image["ready"]) == ("canny", True)
    media = await shared_server.storage.media.read_media(image["id"], None)
    assert Image.open(io.BytesIO(media.data)).size == (64, 64)
    modes = ["ControlNet threshold_a 7", "ControlNet control_mode My prompt is more important", "ControlNet mask"]
    assert info["ignored"] == modes


async def test_a_unit_without_an_image_takes_the_one_to_change(client):
    job, _ = await control(client, "img2img", module="canny")

    assert [(image["role"], image["kind"]) for image in job["images"]] == [("init", ""), ("control", "canny")]
    assert job["images"][0]["id"] == job["images"][1]["id"]


async def test_an_ip_adapter_is_a_reference(client):
    job, _ = await control(client, image=PICTURE, module="ip-adapter_clip_sd15", model="ip-adapter_style", weight=0.6)

    assert [(one["role"], one["kind"], one["weight"]) for one in job["images"]] == [("reference", "style", 0.6)]


@pytest.mark.parametrize(
    ("unit", "sentence"),
    [
        ({"image": PICTURE, "module": "seg_ofade20k"}, "ControlNet module cannot be seg_ofade20k"),
        ({"image": PICTURE, "module": "none", "model": "control_seg"}, "ControlNet module cannot be control_seg"),
        ({"module": "canny"}, "ControlNet image is required"),
        ({"image": PICTURE, "module": "depth"}, "depth"),
        ({"image": PICTURE, "module": "canny", "weight": 3}, "weight is 3"),
        ({"image": PICTURE, "module": "canny", "guidance_start": 0.9, "guidance_end": 0.1}, "starts at 0.9"),
        ({"image": "http://x/a.png", "module": "canny"}, "addresses are not fetched"),
    ],
)
async def test_a_unit_that_cannot_be_is_told(client, unit, sentence):
    scripts = {"ControlNet": {"args": [unit]}}
    answer = await client.post("/sdapi/v1/txt2img", json={"prompt": "a fox", "alwayson_scripts": scripts})

    assert sentence in refusal(answer, 422)


async def test_controls_are_listed_and_their_maps_made(client):
    models = (await client.get("/controlnet/model_list")).json()["model_list"]
    modules = (await client.get("/controlnet/module_list")).json()["module_list"]
    types = (await client.get("/controlnet/control_types")).json()["control_types"]
    body = {"controlnet_module": "canny", "controlnet_images": [DATA_URL, PICTURE]}
    detected = await client.post("/controlnet/detect", json=body)

    assert models == ["paint-canny", "paint-style"]
    assert modules == ["none", "canny", "depth", "lineart", "openpose", "scribble", "tile_resample", "ip-adapter"]
    assert types["Canny"] == {
        "module_list": ["none", "canny"],
        "model_list": ["None", "paint-canny"],
        "default_option": "canny",
        "default_model": "paint-canny",
    }
    assert types["IP-Adapter"]["model_list"] == ["None", "paint-style"]
    assert [open_picture(text).size for text in detected.json()["images"]] == [(80, 64)] * 2
    assert refusal(await client.post("/controlnet/detect", json={**body, "controlnet_module": "seg"}), 422)
    assert (await client.get("/controlnet/settings")).json() == {"control_net_unit_count": 3}
