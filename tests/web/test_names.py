"""The names to complete in a prompt, the tokens of a quote, and the recipe of a job, over REST."""

import json
import struct

import pytest

from tests.web.api_client import imagine, make, problem, upload

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def server(shared_server):
    return shared_server


@pytest.fixture
def client(shared_client):
    return shared_client


def write_lora(path, metadata):
    header = json.dumps({"__metadata__": metadata}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header)


async def test_styles_are_listed_with_what_they_fit(client):
    body = (await client.get("/api/v1/styles")).json()

    assert body == {
        "styles": [
            {"name": "ink", "prompt": "ink drawing of {prompt}", "negative": "colour", "models": ["paint", "demo"]}
        ],
        "total": 1,
    }
    assert (await client.get("/api/v1/styles?q=oil")).json() == {"styles": [], "total": 0}


async def test_loras_are_listed_with_what_their_files_say(client, server):
    path = server.data_dir / "loras" / "ink-lines.safetensors"
    write_lora(path, {"modelspec.title": "Ink & lines", "ss_base_model_version": "sd_v1", "x": "y"})
    facts = {"family": "", "spellings": ["Ink_Lines"], "trigger_words": ["inklines"], "preferred weight": 0.6}
    path.with_suffix(".json").write_text(json.dumps(facts))

    (lora,) = (await client.get("/api/v1/loras", params={"q": "ink lines"})).json()["loras"]

    assert lora == {
        "name": "ink-lines",
        "kind": "lora",
        "title": "Ink & lines",
        "insert": "<lora:ink-lines:0.6>",
        "family": None,
        "models": ["paint", "demo"],
        "base_model": "sd_v1",
        "trigger_words": ["inklines"],
        "weight": 0.6,
    }
    job = await make(client, imagine(f"a fox {lora['insert']}"))
    assert job["state"] == "delivered"


async def test_wildcards_are_listed_with_examples(client, server):
    folder = server.data_dir / "wildcards" / "wild"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "animal.txt").write_text("# animals\nfox\n\ncat\nowl\nhare\n")

    body = (await client.get("/api/v1/wildcards", params={"q": "wild/animal"})).json()

    assert body["total"] == 1
    assert body["wildcards"] == [
        {"name": "wild/animal", "insert": "__wild/animal__", "lines": 4, "examples": ["fox", "cat", "owl"]}
    ]


@pytest.mark.parametrize("path", ["styles", "loras", "wildcards"])
async def test_what_has_not_changed_is_not_sent_again(client, path):
    first = await client.get(f"/api/v1/{path}")
    again = await client.get(f"/api/v1/{path}", headers={"If-None-Match": first.headers["etag"]})

    assert first.headers["cache-control"] == "private, no-cache"
    assert (again.status_code, again.content) == (304, b"")
    problem(await client.get(f"/api/v1/{path}", params={"q": "x" * 81}), 422, "invalid_option")


async def test_a_quote_says_null_where_the_models_tokenizer_is_unknown(client):
    quote = (await client.post("/api/v1/quotes", json=imagine("a fox", negative_prompt="fog"))).json()

    assert quote["tokens"] == {"prompt": None, "negative_prompt": None}


async def test_a_recipe_restores_what_was_typed(client, a_picture):
    photo = (await upload(client, a_picture))["id"]
    image = {"id": photo, "role": "init", "kind": "", "weight": 1, "start": 0, "end": 1, "ready": False}
    job = await make(client, {**imagine("a fox", style="ink", strength=0.3, seed=7), "images": [photo]})

    recipe = (await client.get(f"/api/v1/jobs/{job['id']}/recipe")).json()

    assert recipe == {
        "job": job["id"],
        "command": "imagine",
        "words": {"prompt": "a fox", "style": "ink"},
        "all": {"prompt": "a fox", "style": "ink", "strength": 0.3, "seed": 7},
        "all_but_seed": {"prompt": "a fox", "style": "ink", "strength": 0.3},
        "given": ["prompt", "seed", "strength", "style"],
        "defaults": recipe["defaults"],
        "images": [{**image, "available": True}],
        "seeds": [7],
        "notes": [],
    }
    assert {"steps", "width", "model"} <= recipe["defaults"].keys()
    body = {"command": recipe["command"], "options": recipe["all"], "images": [photo]}
    assert (await make(client, body))["options"] == job["options"]
    for number in ("0", "x", "1000", "²", "000000001" + "9" * 30, "000000001" + "9" * 5000):
        answer = await client.get(f"/api/v1/jobs/{job['id']}/recipe", params={"picture": number})
        problem(answer, 422, "invalid_option")
    problem(await client.get("/api/v1/jobs/aaaa2222/recipe"), 404, "not_found")
