"""Styles, wildcards and LoRAs over REST."""

import pytest

from tests.web.api_client import imagine, make, problem

pytestmark = pytest.mark.asyncio(loop_scope="module")
JOBS = "/api/v1/jobs"


@pytest.fixture
def server(shared_server):
    return shared_server


@pytest.fixture
def client(shared_client):
    return shared_client


@pytest.fixture
def wildcards(server):
    folder = server.data_dir / "wildcards"
    folder.mkdir(exist_ok=True)
    (folder / "animal.txt").write_text("\n".join(["fox", "cat", "owl", "hare", "newt"]))


async def test_a_style_is_applied_and_the_typed_prompt_is_kept(client):
    job = await make(client, imagine("a fox", style="Ink", negative_prompt="red"))

    options = job["options"]
    assert (options["prompt"], options["negative_prompt"]) == ("ink drawing of a fox", "red, colour")
    assert options["asked"] == {"prompt": "a fox", "negative_prompt": "red", "style": "Ink"}
    assert job["state"] == "delivered"


async def test_commands_list_the_styles(client):
    commands = (await client.get("/api/v1/commands")).json()["commands"]

    (style,) = (one for command in commands if command["name"] == "imagine" for one in command["options"]
               if one["name"] == "style")  # fmt: skip
    assert style["choices"] == ["ink"]


async def test_an_unknown_style_is_refused_with_the_known_ones(client):
    detail = problem(await client.post(JOBS, json=imagine(style="oil")), 422, "invalid_option")["detail"]

    assert "ink" in detail


async def test_the_resolved_prompt_is_returned_and_repeatable_by_seed(client, wildcards):
    body = imagine("a __animal__ and a __animal__", seed=5, count=3)
    first, second = await make(client, body), await make(client, body)

    assert first["options"]["prompts"] == second["options"]["prompts"]
    assert len(first["options"]["prompts"]) == 3
    assert "__" not in first["options"]["prompt"]
    assert first["options"]["asked"]["prompt"] == body["options"]["prompt"]


async def test_an_unknown_wildcard_is_refused_with_similar_ones(client, wildcards):
    detail = problem(await client.post(JOBS, json=imagine("a __animals__")), 422, "invalid_option")["detail"]

    assert "__animal__" in detail


async def test_an_unknown_lora_is_refused_with_how_to_install_one(client):
    detail = problem(await client.post(JOBS, json=imagine("a fox <lora:ink:0.8>")), 422, "invalid_option")["detail"]

    assert "easel models add" in detail
