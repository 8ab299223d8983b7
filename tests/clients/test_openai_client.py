"""OpenAI's own client for Python, as docs/clients.md shows it."""

import asyncio
import io
import re
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from PIL import Image

from composition.settings import ROOT
from tests.backends_required import require_backend
from tests.openai_api.openai_bodies import data_url, mask, open_base64
from tests.web.fake_pool import picture
from tests.web.test_meaning_search import MATCH, Matcher

require_backend("openai")
import openai  # noqa: E402 - only where it is installed

pytestmark = pytest.mark.asyncio(loop_scope="module")
PHOTO = ("photo.png", picture(3, 48, 32))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ai(shared_server):
    async with openai.AsyncOpenAI(base_url=f"{shared_server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def matcher(shared_server, monkeypatch):
    models = shared_server.usecases.models
    models.add_model(MATCH)
    shared_server.pool.set_models([*models])
    monkeypatch.setattr(shared_server.pool, "run_task", Matcher(shared_server.pool).run_task)
    yield
    models.remove_model(MATCH.name)


def question(text="what is this?"):
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": data_url()}}]
    return [{"role": "user", "content": parts}]


def response_input(text="what is this?"):
    parts = [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": data_url(), "detail": "auto"}]
    return [{"role": "user", "content": parts}]


async def test_models_are_listed_and_found(ai):
    assert [model.id async for model in ai.models.list()] == ["paint", "look", "demo"]
    assert (await ai.models.retrieve("paint")).owned_by == "easel"


async def test_an_image_is_generated(ai):
    answer = await ai.images.generate(
        model="gpt-image-1", prompt="a red circle", n=2, size="128x128", quality="low", output_format="webp",
        output_compression=80, background="opaque", moderation="auto", user="me", extra_body={"seed": 7},
    )  # fmt: skip

    images = [open_base64(one.b64_json) for one in answer.data]
    assert [(image.format, image.size) for image in images] == [("WEBP", (128, 128))] * 2
    assert (answer.usage.total_tokens, answer.size) == (0, "128x128")
    assert answer.data[0].revised_prompt == "a red circle"


async def test_the_url_of_an_image_is_fetched_by_the_client(ai):
    answer = await ai.images.generate(prompt="a red circle", response_format="url")
    fetched = await ai.get(answer.data[0].url, cast_to=openai._legacy_response.HttpxBinaryResponseContent)

    assert Image.open(io.BytesIO(fetched.content)).format == "PNG"


async def test_a_stream_has_partial_images_and_the_image(ai, shared_server):
    shared_server.pool.go_on.clear()
    events = []
    stream = await ai.images.generate(prompt="a slow circle", stream=True, partial_images=2)
    async for event in stream:
        shared_server.pool.go_on.set()
        events.append(event)

    assert [event.type for event in events][-1] == "image_generation.completed"
    assert [event.partial_image_index for event in events[:-1]] == list(range(len(events) - 1))
    assert open_base64(events[0].b64_json).format == "JPEG"
    assert open_base64(events[-1].b64_json).format == "PNG"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # variations are, in OpenAI's own API
async def test_images_are_edited_and_varied(ai):
    edited = await ai.images.edit(image=PHOTO, prompt="a blue circle")
    masked = await ai.images.edit(image=PHOTO, mask=("mask.png", mask(clear_left=True)), prompt="a circle", n=2)
    varied = await ai.images.create_variation(image=PHOTO, n=1)
    stream = await ai.images.edit(image=PHOTO, prompt="a blue circle", stream=True)

    assert [len(answer.data) for answer in (edited, masked, varied)] == [1, 2, 1]
    assert [event.type async for event in stream] == ["image_edit.completed"]


async def test_a_second_image_is_a_reference(ai):
    answer = await ai.images.edit(image=[PHOTO, ("other.png", picture(4, 48, 32))], prompt="a blue circle")

    assert open_base64(answer.data[0].b64_json).format == "PNG"


async def test_a_question_about_an_image_is_answered(ai):
    answer = await ai.chat.completions.create(model="gpt-4o", messages=question(), max_tokens=50, temperature=0)

    assert answer.choices[0].message.content == "It is what is this?"
    assert (answer.choices[0].finish_reason, answer.usage.total_tokens) == ("stop", 12)


async def test_an_answer_streams(ai):
    more = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = [chunk async for chunk in await ai.chat.completions.create(model="look", messages=question(), **more)]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    assert text == "It is what is this?"
    assert chunks[-1].usage.total_tokens == 12


async def test_a_response_is_created_streamed_followed_and_found(ai):
    answer = await ai.responses.create(model="gpt-5", input=response_input(), max_output_tokens=50)
    async with ai.responses.stream(model="gpt-5", input=response_input("one two?")) as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    further = await ai.responses.create(model="gpt-5", input="and now?", previous_response_id=answer.id)
    found = await ai.responses.retrieve(further.id)

    assert answer.output_text == "It is what is this?"
    assert "".join(deltas) == final.output_text == "It is one two?"
    assert found.output_text == further.output_text == "It is and now?"
    assert found.previous_response_id == answer.id


async def test_texts_are_embedded(ai, matcher):
    answer = await ai.embeddings.create(model="text-embedding-3-small", input=["red", "green"])
    as_floats = await ai.embeddings.create(model="match", input="red", encoding_format="float")

    assert answer.data[0].embedding == pytest.approx([1, 0, 0], abs=1e-3)
    assert as_floats.data[0].embedding == pytest.approx(answer.data[0].embedding)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda ai: ai.images.generate(prompt=""), openai.BadRequestError),
        (lambda ai: ai.images.generate(prompt="x", model="unknown"), openai.NotFoundError),
        (lambda ai: ai.chat.completions.create(model="gpt-4o", messages=[]), openai.BadRequestError),
        (lambda ai: ai.moderations.create(input="x"), openai.NotFoundError),
        (lambda ai: ai.models.retrieve("unknown"), openai.NotFoundError),
        (lambda ai: ai.images.generate(prompt="fail"), openai.InternalServerError),
        (lambda ai: ai.with_options(api_key="0123abcd." + "x" * 43).models.retrieve("x"), openai.AuthenticationError),
    ],
    ids=["prompt", "model", "messages", "endpoint", "no model", "failed", "key"],
)
async def test_errors_are_those_of_the_client(ai, call, kind):
    with pytest.raises(kind) as raised:
        await call(ai)

    assert raised.value.body["message"]
    assert raised.value.type


async def test_a_stream_that_fails_raises_with_its_sentence(ai):
    with pytest.raises(openai.APIError, match="Something went wrong"):
        async for _ in await ai.images.generate(prompt="fail", stream=True):
            pass


class LosesFirstAnswer(httpx2.AsyncHTTPTransport):
    """The connection is lost once the first answer is complete."""

    is_lost = False

    async def handle_async_request(self, request):
        response = await super().handle_async_request(request)
        if self.is_lost:
            return response
        await response.aread()
        self.is_lost = True
        raise httpx2.ReadError("the connection was lost")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_lost_the_answer_gets_that_of_its_first_try(shared_server, stream):
    prompt = f"a lost circle {stream}"
    async with (
        httpx2.AsyncClient(transport=LosesFirstAnswer()) as connections,
        openai.AsyncOpenAI(base_url=f"{shared_server.url}/v1", api_key="none", http_client=connections) as client,
    ):
        answer = await client.images.generate(prompt=prompt, stream=stream)
        images = [one.b64_json async for one in answer] if stream else [one.b64_json for one in answer.data]
    person = await shared_server.usecases.people.local_person()
    tickets, _ = await shared_server.usecases.jobs.list_tickets(person, limit=100)

    assert len(images) == 1
    assert [ticket.job.options.get("prompt") for ticket in tickets].count(prompt) == 1


def documented_code():
    """The blocks of Python in docs/clients.md that use OpenAI's client, and LangChain."""
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:2]


async def test_the_documented_code_runs(shared_server, matcher, tmp_path, monkeypatch, capsys):
    require_backend("langchain-openai")
    (tmp_path / "photo.png").write_bytes(PHOTO[1])
    (tmp_path / "mask.png").write_bytes(mask(clear_left=True))
    monkeypatch.chdir(tmp_path)
    shared_server.pool.go_on.set()
    code = "".join(documented_code()).replace("http://127.0.0.1:8000", shared_server.url)
    names: dict[str, Any] = {}
    await asyncio.to_thread(exec, code, names)
    for opened in (names["client"], names["chat"].root_client, names["embeddings"].client._client):
        opened.close()  # a script that ends closes nothing

    assert Image.open(io.BytesIO((tmp_path / "circle-1.png").read_bytes())).size == (64, 64)
    assert "It is what color is it?" in capsys.readouterr().out
    assert names["vector"] == pytest.approx([1, 0, 0], abs=1e-3)
