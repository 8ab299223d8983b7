"""The lists that clients read when they connect."""

import json

import pytest

from bot.models import IMAGE_UPSCALING, ModelSpec
from bot.samplers import SAMPLERS, SCHEDULES, read_sampler, read_schedule
from tests.sdapi.sd_client import draw, get, post
from tests.web.test_names import write_lora

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def client(shared_client):
    return shared_client


@pytest.fixture
def server(shared_server):
    return shared_server


def write_addon(path, **facts):
    write_lora(path, {"ss_base_model_version": "sd_v1"})
    path.with_suffix(".json").write_text(json.dumps({"family": "", "trigger_words": [], **facts}))


async def test_models_are_those_that_make_pictures_and_the_selected_one_is_among_them(client):
    models = await get(client, "sd-models")

    assert [one["title"] for one in models] == ["paint", "demo"]
    assert set(models[0]) >= {"title", "model_name", "hash", "sha256", "filename", "config"}
    assert (await get(client, "options"))["sd_model_checkpoint"] == models[0]["title"]
    assert (await get(client, "checkpoint"))["title"] == models[0]["title"]


async def test_samplers_and_schedulers_have_names_that_mean_themselves(client):
    samplers = [one["name"] for one in await get(client, "samplers")]
    schedulers = [one["name"] for one in await get(client, "schedulers")]

    assert {read_sampler(name) for name in samplers} == {(name, "") for name in SAMPLERS}
    assert {read_schedule(name) for name in schedulers} == {"", *SCHEDULES}


async def test_styles_are_the_owners(client):
    assert await get(client, "prompt-styles") == [
        {"name": "ink", "prompt": "ink drawing of {prompt}", "negative_prompt": "colour"}
    ]


async def test_loras_and_embeddings_are_told_apart_and_no_path_is_shown(server, client):
    write_addon(server.data_dir / "loras" / "ink-lines.safetensors", spellings=["Ink_Lines"])
    write_addon(server.data_dir / "embeddings" / "bad-hands.safetensors", spellings=["BadHands"])

    [lora], embeddings = await get(client, "loras"), await get(client, "embeddings")

    assert (lora["name"], lora["alias"], lora["path"]) == ("ink-lines", "Ink_Lines", "ink-lines.safetensors")
    assert set(embeddings["loaded"]) == {"BadHands"}
    _, info = await draw(client, prompt="a fox <lora:Ink_Lines:0.5>")
    assert info["prompt"] == "a fox <lora:Ink_Lines:0.5>"


NOT_HERE = (
    "latent-upscale-modes sd-vae sd-modules hypernetworks face-restorers realesrgan-models extensions artists "
    "artist-categories log"
)


@pytest.mark.parametrize("path", NOT_HERE.split())
async def test_lists_of_what_is_not_here_are_empty(client, path):
    assert await get(client, path) == []


async def test_scripts_are_those_that_a_model_here_can_do(client):
    scripts = await get(client, "scripts")

    assert scripts["txt2img"] == scripts["img2img"] == ["x/y/z plot", "controlnet"]
    assert {one["name"] for one in await get(client, "script-info")} == set(scripts["txt2img"])


async def test_upscalers_are_the_models_and_plain_resizing(server, client):
    server.usecases.models.add_model(ModelSpec(name="larger", tasks=(IMAGE_UPSCALING,), repo="larger"))

    assert [one["name"] for one in await get(client, "upscalers")] == ["None", "Lanczos", "larger"]
    server.usecases.models.remove_model("larger")


async def test_flags_memory_and_version_are_told(client):
    assert (await get(client, "cmd-flags"))["api"] is True
    assert (await get(client, "memory"))["ram"]["total"] > 0
    assert (await get(client, "version"))["app"] == "Easel"


@pytest.mark.parametrize("path", ["refresh-checkpoints", "refresh-loras", "refresh-vae", "refresh-embeddings"])
async def test_refreshing_is_accepted_as_lists_are_always_up_to_date(client, path):
    assert await post(client, path) == {}
