"""The tools that programs find at `/mcp`, and what they answer."""

import base64
import io
import json

import pytest
import pytest_asyncio
from PIL import Image

from tests.backends_required import require_backend

require_backend("mcp")

from adapters.mcp.tool_answers import MAX_BASE64  # noqa: E402 - after the library is known to be there
from adapters.mcp.tool_schemas import LOOK_UPS  # noqa: E402
from bot.commands import COMMANDS  # noqa: E402
from tests.mcp_api.mcp_client import ERAS, connect, stay_connected, texts_of, uris_of  # noqa: E402
from tests.web.conftest import open_client  # noqa: E402
from tests.web.fake_pool import picture  # noqa: E402

pytestmark = pytest.mark.asyncio(loop_scope="module")

A_PICTURE = base64.b64encode(picture(3, 48, 32)).decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def call(shared_server):
    async def call_tool(name, **arguments):
        return await client.call_tool(name, arguments)

    async with stay_connected(shared_server) as client:
        yield call_tool


async def commands_of(served):
    async with open_client(served) as client:
        return (await client.get("/api/v1/commands")).json()["commands"]


async def test_no_look_up_is_named_like_a_command():
    assert not set(LOOK_UPS) & set(COMMANDS)


@pytest.mark.parametrize("mode", ERAS)
async def test_the_tools_are_the_commands_that_an_installed_model_can_do_and_the_look_ups(shared_server, mode):
    async with connect(shared_server, mode=mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]

    able = [command["name"] for command in await commands_of(shared_server) if command["models"]]
    assert tools == [*able, *LOOK_UPS]
    assert {"imagine", "ask", "caption"} <= set(able)


async def test_a_tools_options_are_those_of_the_command(shared_server):
    async with connect(shared_server) as client:
        tools = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}

    for command in await commands_of(shared_server):
        if command["models"]:
            schema = tools[command["name"]]
            assert {option["name"] for option in command["options"]} <= set(schema["properties"])
            assert not schema["additionalProperties"]
            required = {option["name"] for option in command["options"] if option["required"]}
            assert required <= set(schema["required"])


async def test_a_schema_has_types_ranges_defaults_and_choices(shared_server):
    async with connect(shared_server) as client:
        tools = {tool.name: tool.input_schema["properties"] for tool in (await client.list_tools()).tools}
    imagine = tools["imagine"]

    assert (imagine["count"]["type"], imagine["count"]["minimum"], imagine["count"]["default"]) == ("integer", 1, 1)
    assert imagine["prompt"] == {"type": "string", "description": "What to draw", "maxLength": 2000}
    assert imagine["style"]["enum"] == ["ink"]
    assert imagine["model"]["enum"] == ["paint", "demo"]
    assert "euler" in imagine["sampler"]["enum"]
    assert (tools["ask"]["images"]["minItems"], tools["ask"]["images"]["maxItems"]) == (1, 1)


@pytest.mark.parametrize("mode", ERAS)
async def test_an_image_is_answered_with_its_id_its_seed_and_a_link_to_it(shared_server, mode):
    async with connect(shared_server, mode=mode) as client:
        result = await client.call_tool("imagine", {"prompt": "a fox", "seed": 7, "count": 2})
        (first, _) = uris_of(result)
        resource = await client.read_resource(first)

    images = [block for block in result.content if block.type == "image"]
    assert [block.mime_type for block in images] == ["image/png"] * 2
    assert "seed 7" in texts_of(result)[0]
    assert "seed 8" in texts_of(result)[0]
    assert first in texts_of(result)[0]
    assert result.structured_content is None  # programs would show it in place of the images
    shown = Image.open(io.BytesIO(base64.b64decode(images[0].data)))
    assert shown.size == (64, 64)
    assert resource.contents[0].blob == images[0].data


async def test_an_answer_in_words_is_a_text_of_its_own(call):
    result = await call("ask", question="what is this?", images=[A_PICTURE])

    assert texts_of(result)[0] == "It is what is this?"
    assert result.structured_content["text"] == "It is what is this?"


async def uploaded(served):
    async with open_client(served) as client:
        return (await client.post("/api/v1/media", files={"file": ("a.png", picture(5, 32, 32))})).json()["id"]


@pytest.mark.parametrize("form", ["id", "data", "base64", "object", "resource", "job"])
async def test_an_image_is_given_in_every_form(shared_server, call, form):
    made = uris_of(await call("imagine", prompt="a fox"))[0]
    forms = {
        "id": await uploaded(shared_server),
        "data": f"data:image/png;base64,{A_PICTURE}",
        "base64": A_PICTURE,
        "object": {"image": A_PICTURE, "role": "init"},
        "resource": made,
        "job": made.removeprefix("easel://job/"),
    }

    result = await call("caption", images=[forms[form]])

    assert not result.is_error
    assert texts_of(result)[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "This needs an image: give it in `images`."),
        ({"images": ["https://example.org/a.png"]}, "Images are not fetched from the web."),
        ({"images": ["/home/me/photo.png"]}, "This server cannot read files of your computer."),
        ({"images": ["AAAA!"]}, "cannot be read"),
        ({"images": [base64.b64encode(b"no image").decode()]}, "This file is not a picture."),
        ({"images": ["0" * 64]}, "You have no picture called"),
        ({"images": ["easel://job/aaaaaaaaaaaaaaaa/1"]}, "You have no job called"),
        ({"images": [7]}, "Each of `images` is a text"),
        ({"images": [{"image": A_PICTURE, "rolle": "init"}]}, "Unknown option rolle."),
        ({"images": [A_PICTURE] * 40}, "40 pictures are too many"),
        ({"images": [A_PICTURE], "steps": 3}, "Unknown option steps."),
        ({"images": [A_PICTURE], "max_new_tokens": 0}, "max_new_tokens is 0, but must be"),
        ({"images": [A_PICTURE], "parent": "no job"}, "You have no job called"),
        ({"images": [A_PICTURE], "parent": 7}, "parent is 7, but must be text."),
    ],
)
async def test_wrong_arguments_are_answered_in_one_sentence(call, arguments, sentence):
    result = await call("caption", **arguments)

    assert result.is_error
    (text,) = texts_of(result)
    assert sentence in text
    assert "Traceback" not in text


async def test_an_unknown_tool_is_named_with_the_nearest_one(call):
    result = await call("imagin", prompt="a fox")

    assert result.is_error
    assert "Did you mean imagine?" in texts_of(result)[0]


async def test_a_job_that_fails_is_an_error_without_its_inner_reason(call):
    result = await call("imagine", prompt="fail")

    assert result.is_error
    assert "you weren't charged" in texts_of(result)[0]
    assert "inner" not in texts_of(result)[0]


async def test_several_combinations_are_made_once_they_are_confirmed(call):
    asked = await call("imagine", prompt="a {red|green} fox")
    (text,) = texts_of(asked)

    confirmed = await call("imagine", prompt="a {red|green} fox", quote=text.rpartition("quote = ")[2])

    assert asked.is_error
    assert "2 combinations" in text
    assert len(uris_of(confirmed)) == 2


async def test_the_images_of_an_answer_are_small_enough_together(call, shared_server, monkeypatch):
    limit = 1000
    monkeypatch.setattr("adapters.mcp.tool_answers.MAX_BASE64", limit)

    result = await call("imagine", prompt="a fox", count=4)

    images = [block for block in result.content if block.type == "image"]
    assert sum(len(block.data) for block in images) <= limit < MAX_BASE64
    assert len(uris_of(result)) == 4


async def test_an_image_that_is_too_large_is_shown_smaller(call, monkeypatch):
    whole = (await call("imagine", prompt="a fox", seed=1)).content[1]
    monkeypatch.setattr("adapters.mcp.tool_answers.MAX_BASE64", len(whole.data) - 4)

    shown = [block for block in (await call("imagine", prompt="a fox", seed=1)).content if block.type == "image"]

    assert all(block.mime_type == "image/webp" for block in shown)


async def test_jobs_and_images_of_tools_come_from_mcp(shared_server, call):
    uri = uris_of(await call("imagine", prompt="a fox", images=[A_PICTURE]))[0]
    job_id = uri.removeprefix("easel://job/").partition("/")[0]

    async with open_client(shared_server) as client:
        job = (await client.get(f"/api/v1/jobs/{job_id}")).json()

    assert (job["facts"]["platform"], job["facts"]["client"]) == ("web", "mcp")


async def test_history_lists_jobs_with_their_words_and_pages(call):
    await call("imagine", prompt="a badger in the snow")
    await call("imagine", prompt="a badger in the rain")

    first = json.loads(texts_of(await call("history", query="badger", limit=1))[0])
    second = json.loads(texts_of(await call("history", query="badger", limit=1, before=first["next"]))[0])

    assert [job["prompt"] for page in (first, second) for job in page["jobs"]] == [
        "a badger in the rain",
        "a badger in the snow",
    ]
    assert first["jobs"][0]["images"][0].startswith("easel://job/")


@pytest.mark.parametrize("arguments", [{"limit": 0}, {"limit": True}, {"query": 7}, {"before": "?"}])
async def test_wrong_arguments_of_history_are_refused(call, arguments):
    assert (await call("history", **arguments)).is_error


async def test_models_are_listed_with_their_commands_and_what_none_can_do(call):
    listed = (await call("list_models")).structured_content

    assert [model["name"] for model in listed["models"]] == ["paint", "look", "demo"]
    assert "imagine" in listed["models"][0]["commands"]
    assert "cutout" in listed["unavailable_commands"]


async def test_the_quota_is_answered_in_device_seconds(call):
    assert (await call("quota")).structured_content["unit"] == "device-seconds"


async def test_pictures_are_listed_as_resources(shared_server, call):
    uri = uris_of(await call("imagine", prompt="a heron"))[0]

    async with connect(shared_server) as client:
        listed = (await client.list_resources()).resources
        (template,) = (await client.list_resource_templates()).resource_templates

    assert (str(listed[0].uri), listed[0].title) == (uri, "a heron")
    assert template.uri_template == "easel://job/{id}/{number}"


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("history", {"query": "x" * 201}, "query is too long"),
        ("history", {"limt": 5}, "limt"),
        ("quota", {"of": "ada"}, "of"),
        ("cancel", {"id": "aaaa", "all": True}, "all"),
    ],
)
async def test_what_a_look_up_does_not_know_is_named(call, tool, arguments, words):
    answer = await call(tool, **arguments)

    assert answer.is_error
    assert words in texts_of(answer)[0]
