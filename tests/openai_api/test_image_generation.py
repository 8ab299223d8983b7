"""`/v1/images/generations`: what its fields become, and what its answers hold."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from bot.jobs import Media
from bot.ports import TaskOutput
from inference.images.encode import save_image
from inference.images.resize import read_own_metadata
from tests.openai_api.openai_bodies import GENERATIONS, error_of, events_of, images_of
from tests.web.conftest import SECRET, open_client, open_easel

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROMPT = "a red circle"


async def test_a_prompt_becomes_an_image_of_the_default_size(client):
    (image,) = await images_of(client, json={"prompt": PROMPT})

    assert (image.format, image.size) == ("PNG", (64, 64))


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"n": 3}, {"count": 3}),
        ({"size": "128x96"}, {"width": 128, "height": 96}),
        ({"size": "auto", "quality": "auto", "background": "auto"}, {"width": 64, "height": 64, "steps": 5}),
        ({"quality": "low"}, {"steps": 2}),
        ({"quality": "hd"}, {"steps": 8}),
        ({"quality": "max"}, {"steps": 10}),
        ({"model": "demo"}, {"model": "demo"}),
        ({"model": "dall-e-3", "style": "vivid"}, {"model": "paint"}),
        ({"seed": 7, "negative_prompt": "blue", "steps": 3}, {"seed": 7, "negative_prompt": "blue", "steps": 3}),
        ({"style": "ink"}, {"prompt": f"ink drawing of {PROMPT}"}),
    ],
    ids=str,
)
async def test_a_field_becomes_an_option(client, tasks, fields, options):
    await images_of(client, json={"prompt": PROMPT, **fields})
    task = next(task for task in tasks if task.command == "imagine")

    assert {name: (task.model.name if name == "model" else task.options[name]) for name in options} == options


async def test_an_answer_has_what_images_show_and_how_they_were_made(client):
    answer = (await client.post(GENERATIONS, json={"prompt": PROMPT, "n": 2, "seed": 7})).json()

    assert [one["seed"] for one in answer["data"]] == [7, 8]
    assert {one["revised_prompt"] for one in answer["data"]} == {PROMPT}
    assert all(one["alt"] and not one["spoiler"] for one in answer["data"])
    assert (answer["size"], answer["output_format"], answer["usage"]["total_tokens"]) == ("64x64", "png", 0)
    assert answer["created"] > 1.7e9


@pytest.fixture
def draws_marked(shared_server, monkeypatch):
    """The pool's images have the metadata that those of a real engine have."""
    run_task = shared_server.pool.run_task

    async def run(task):
        async for event in run_task(task):
            if isinstance(event, TaskOutput):
                event = replace(event, images=tuple(replace(one, media=marked(one.media)) for one in event.images))
            yield event

    monkeypatch.setattr(shared_server.pool, "run_task", run)


def marked(media):
    saved = save_image(Image.open(io.BytesIO(media.data)), "png", f"{PROMPT}\nSteps: 5", '{"easel": 1}')
    return Media(saved.data, saved.media_type)


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
async def test_an_image_of_every_format_is_marked_as_generated(client, draws_marked, output_format):
    (image,) = await images_of(client, json={"prompt": PROMPT, "output_format": output_format})

    assert image.format == output_format.upper()
    assert read_own_metadata(image) == (f"{PROMPT}\nSteps: 5", '{"easel": 1}', True)


async def test_the_url_of_an_image_is_fetched_with_the_same_key(server):
    keys = [await server.create_key(name) for name in ("Ada", "Bob")]
    async with open_client(server) as client:
        mine, foreign = ({"Authorization": f"Bearer {key}"} for key in keys)
        body = {"prompt": PROMPT, "response_format": "url", "output_format": "webp", "output_compression": 50}
        url = (await client.post(GENERATIONS, json=body, headers=mine)).json()["data"][0]["url"]
        fetched = await client.get(url, headers=mine)
        as_drawn = await client.get(url.partition("?")[0], headers=mine)
        refused = await client.get(url, headers=foreign)

    assert (fetched.status_code, fetched.headers["content-type"]) == (200, "image/webp")
    assert as_drawn.headers["content-type"] == "image/png"
    error_of(refused, 404, "not_found")


@pytest.mark.parametrize("name", ["x", "0" * 64, "..%2f..%2fconfig", "0" * 64 + "?format=png"])
async def test_an_image_that_is_not_there_is_not_found(client, name):
    error_of(await client.get(f"/v1/media/{name}"), 404, "not_found" if "%" not in name else "unknown_url")


async def test_a_wrong_format_of_an_image_is_refused_by_its_name(client):
    error = error_of(await client.get(f"/v1/media/{'0' * 64}?format=gif"), 400, "invalid_value")

    assert error["param"] == "format"


async def test_fields_that_change_nothing_are_named(client):
    body = {"prompt": PROMPT, "user": "me", "style": "natural", "output_compression": 9, "odd\nname": 1, "seed": None}
    answer = await client.post(GENERATIONS, json=body)

    assert answer.headers["x-easel-ignored"] == "user, odd?name, style, output_compression"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": "x" * 2001}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"n": 5}, "n"),
        ({"n": 0}, "n"),
        ({"n": "many"}, "n"),
        ({"size": "4096x4096"}, "size"),
        ({"size": "65x65"}, "size"),
        ({"size": "large"}, "size"),
        ({"quality": "best"}, "quality"),
        ({"background": "transparent"}, "background"),
        ({"output_format": "svg"}, "output_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"response_format": "file"}, "response_format"),
        ({"partial_images": 4, "stream": True}, "partial_images"),
        ({"steps": 999}, "steps"),
        ({"model": "look"}, "model"),
    ],
    ids=str,
)
async def test_a_wrong_field_is_refused_by_its_name(client, fields, param):
    answer = await client.post(GENERATIONS, json={"prompt": PROMPT, **fields})

    code = "missing_required_parameter" if fields.get("prompt", "x") in ("", None) else "invalid_value"
    assert error_of(answer, 400, code)["param"] == param


async def test_combinations_make_one_image_each_if_n_says_so(client):
    images = await images_of(client, json={"prompt": "a {red|blue} circle", "n": 2})
    refused = await client.post(GENERATIONS, json={"prompt": "a {red|blue} circle"})
    too_many = await client.post(GENERATIONS, json={"prompt": "{1|2|3} {1|2|3}", "n": 4})

    assert len(images) == 2
    assert "set n to 2" in error_of(refused, 400, "invalid_value")["message"]
    error_of(too_many, 400, "invalid_value")


async def test_a_stream_has_partial_images_and_then_the_image(client, shared_server):
    body = {"prompt": "a slow circle", "stream": True, "partial_images": 2, "output_format": "webp"}
    shared_server.pool.go_on.clear()
    events = []

    async with client.stream("POST", GENERATIONS, json=body) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("event: "):
                events.append(line.removeprefix("event: "))
                shared_server.pool.go_on.set()  # there was a partial image

    assert events[0] == "image_generation.partial_image"
    assert events[-1] == "image_generation.completed"


async def test_the_events_of_a_stream_name_their_formats(client, shared_server):
    shared_server.pool.go_on.set()
    body = {"prompt": PROMPT, "n": 2, "stream": True, "output_format": "jpeg"}
    events = await events_of(client, GENERATIONS, body)

    assert [name for name, _ in events] == ["image_generation.completed"] * 2
    for name, content in events:
        assert content["type"] == name
        assert (content["output_format"], content["size"]) == ("jpeg", "64x64")
        assert content["usage"]["total_tokens"] == 0


async def test_a_job_that_fails_in_a_stream_is_its_last_event(client):
    events = await events_of(client, GENERATIONS, {"prompt": "fail", "stream": True})

    assert [name for name, _ in events] == ["error"]
    assert events[0][1]["error"]["code"] == "engine_failed"
    assert "secret" not in str(events)


async def test_images_are_in_the_history_as_of_another_programs_api(client, shared_server):
    await images_of(client, json={"prompt": "a unique teapot"})
    local = {"Authorization": f"Bearer {SECRET}"}
    (job,) = (await client.get("/api/v1/jobs?q=teapot", headers=local)).json()["jobs"]
    stored = await shared_server.storage.jobs.get_job(job["id"], None)

    assert (stored.origin.platform, stored.origin.extra["client"]) == ("web", "openai")


async def test_blocked_prompts_and_images_are_refused_as_content_policy(tmp_path):
    async with open_easel(tmp_path, blocked_words=("broccoli",), local_policy="block") as easel:
        await easel.serve()
        async with open_client(easel) as client:
            words = await client.post(GENERATIONS, json={"prompt": "broccoli"})
            image = await client.post(GENERATIONS, json={"prompt": "nude"})
            stream = await events_of(client, GENERATIONS, {"prompt": "nude", "stream": True})

    assert "broccoli" not in error_of(words, 400, "content_policy_violation")["message"]
    error_of(image, 400, "content_policy_violation")
    assert stream[-1][1]["error"]["code"] == "content_policy_violation"


async def test_an_image_that_the_owners_policy_hides_comes_with_a_mark(tmp_path):
    async with open_easel(tmp_path, local_policy="spoiler") as easel:
        await easel.serve()
        async with open_client(easel) as client:
            answer = await client.post(GENERATIONS, json={"prompt": "nude"})

    assert answer.json()["data"][0]["spoiler"] is True
