"""webuiapi, a client of AUTOMATIC1111's API, drives a served Easel: each call that docs/clients.md names."""

import asyncio
import contextlib
import importlib
import io
import re
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from composition.settings import ROOT
from tests.backends_required import require_backend

require_backend("webuiapi")
webuiapi: Any = importlib.import_module("webuiapi")

pytestmark = pytest.mark.asyncio(loop_scope="module")
RED = Image.new("RGB", (48, 32), "red")


def connect(url, **options):
    port = int(url.rpartition(":")[2])
    with contextlib.redirect_stdout(io.StringIO()):
        api = webuiapi.WebUIApi(host="127.0.0.1", port=port, steps=3, **options)
    api.session.trust_env = False
    return api


class Calls:
    """Each call runs in a thread, as the client blocks."""

    def __init__(self, api: Any) -> None:
        self.api = api

    async def __call__(self, name: str, *arguments: Any, **options: Any) -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            return await asyncio.to_thread(partial(getattr(self.api, name), *arguments, **options))


@pytest_asyncio.fixture(loop_scope="module")
async def api(shared_server):
    return Calls(await asyncio.to_thread(connect, shared_server.url))


async def test_txt2img(api):
    result = await api("txt2img", prompt="a red circle", negative_prompt="fog", seed=1003, cfg_scale=7, n_iter=2)

    assert [image.size for image in result.images] == [(64, 64)] * 2
    assert (result.info["seed"], result.info["all_seeds"]) == (1003, [1003, 1004])
    assert result.info["ignored"] == ["size 512x512: 64x64", "sampler_name euler_a"]
    assert result.parameters["prompt"] == "a red circle"


async def test_txt2img_with_hires_fix_and_a_style(api):
    result = await api(
        "txt2img", prompt="a fox", styles=["ink"], enable_hr=True, hr_scale=1.5, denoising_strength=0.5,
        hr_upscaler=webuiapi.HiResUpscaler.Latent, width=64, height=64, sampler_name="DDIM", scheduler="automatic",
    )  # fmt: skip

    assert result.info["prompt"] == "ink drawing of a fox"
    assert result.info["sampler_name"] == "DDIM"
    assert result.info["ignored"] == []


async def test_img2img_and_inpainting(api):
    mask = Image.new("L", (48, 32), 255)
    changed = await api("img2img", images=[RED], prompt="a fox", denoising_strength=0.4, width=64, height=64)
    painted = await api("img2img", images=[RED], mask_image=mask, prompt="a fox", inpainting_fill=1, seed=5)

    assert changed.image.size == (64, 64)
    assert changed.info["denoising_strength"] == 0.4
    assert painted.info["seed"] == 5


async def test_controlnet_units(api):
    unit = webuiapi.ControlNetUnit(image=RED, module="canny", model="paint-canny", weight=0.8, pixel_perfect=True)
    result = await api("txt2img", prompt="a fox", controlnet_units=[unit], width=64, height=64, sampler_name="DDIM")

    assert result.image.size == (64, 64)
    assert result.info["ignored"] == []


async def test_controlnet_lists_and_maps(api):
    detected = await api("controlnet_detect", images=[RED], module="canny")

    assert await api("controlnet_version") == 2
    assert await api("controlnet_model_list") == ["paint-canny", "paint-style"]
    assert "canny" in await api("controlnet_module_list")
    assert detected.image.width > detected.image.height


async def test_extras(api):
    one = await api("extra_single_image", image=RED, upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=1.5)
    several = await api("extra_batch_images", images=[RED, RED], upscaler_1="None", upscaling_resize=2)

    assert one.image.size == (72, 48)
    assert [image.size for image in several.images] == [(96, 64)] * 2


async def test_png_info_and_interrogate(api):
    marked = Image.new("RGB", (8, 8))
    marked.info["parameters"] = "a fox\nSteps: 3, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 8x8"

    assert (await api("png_info", marked)).info == marked.info["parameters"]
    assert (await api("interrogate", RED)).info == "It is a picture"


async def test_options_and_the_model(api):
    await api("util_set_model", "dem")
    chosen = await api("util_get_current_model")
    await api("set_options", {"sd_model_checkpoint": "paint"})

    assert chosen == "demo"
    assert (await api("get_options"))["sd_model_checkpoint"] == "paint"
    assert await api("util_get_model_names") == ["demo", "paint"]


async def test_progress_and_interrupts(api):
    progress = await api("get_progress")

    assert (progress["progress"], progress["state"]["job_count"]) == (0.0, 0)
    assert [await api(name) for name in ("interrupt", "skip")] == [{}, {}]
    await api("util_wait_for_ready", check_interval=0.1)


async def test_lists(api):
    assert "Euler a" in await api("util_get_sampler_names")
    assert "karras" in await api("util_get_scheduler_names")
    assert {one["name"] for one in await api("get_upscalers")} >= {"None", "Lanczos"}
    assert [one["name"] for one in await api("get_prompt_styles")] == ["ink"]
    assert (await api("get_embeddings"))["loaded"] == {}
    assert (await api("get_cmd_flags"))["api"] is True
    assert (await api("get_memory"))["ram"]["total"] > 0
    assert "controlnet" in (await api("get_scripts"))["txt2img"]
    assert await api("refresh_checkpoints") == {}
    assert len(await api("get_sd_models")) == 2
    empty = ["sd_vae", "latent_upscale_modes", "loras", "hypernetworks", "face_restorers", "realesrgan_models"]
    assert [await api(f"get_{name}") for name in empty] == [[]] * len(empty)
    assert [await api(name) for name in ("get_artists", "get_artist_categories")] == [[], []]


async def test_errors_are_raised_with_their_sentence(api):
    with pytest.raises(RuntimeError) as refused:
        await api("txt2img", prompt="", sampler_name="DDIM")

    assert refused.value.args[0] == 422
    assert "prompt is empty" in refused.value.args[1]


async def test_calls_without_waiting(api):
    call = api.api.txt2img(prompt="a fox", width=64, height=64, use_async=True)

    assert (await call).image.size == (64, 64)


async def test_a_key_is_the_password(server):
    key = await server.create_key("Ann")
    allowed, refused = [
        await asyncio.to_thread(connect, server.url, username="anybody", password=text) for text in (key, "wrong")
    ]

    assert (await asyncio.to_thread(allowed.get_options))["sd_model_checkpoint"] == "paint"
    assert (await asyncio.to_thread(refused.get_options))["error"] == "unauthorized"


async def test_the_documented_code_runs(shared_server, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    [code] = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "import webuiapi" in block]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")

    def run() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code.replace("8000", shared_server.url.rpartition(":")[2]), {"__name__": "documented"})

    await asyncio.to_thread(run)

    assert {path.name for path in tmp_path.iterdir()} == {"circle.png", "grid.png"}
