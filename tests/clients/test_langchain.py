"""LangChain's classes for OpenAI, as docs/clients.md shows them."""

import httpx2
import pytest
import pytest_asyncio

from tests.backends_required import require_backend
from tests.openai_api.openai_bodies import data_url
from tests.web.test_meaning_search import MATCH, Matcher

require_backend("langchain-openai")
from langchain_openai import ChatOpenAI, OpenAIEmbeddings  # noqa: E402 - only where it is installed

pytestmark = pytest.mark.asyncio(loop_scope="module")
IMAGE = {"type": "image_url", "image_url": {"url": data_url()}}
QUESTION = [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, IMAGE]}]
BLOCKS = [
    {"type": "text", "text": "what is this?"},
    {"type": "image", "base64": data_url().partition(",")[2], "mime_type": "image/png"},
]


@pytest_asyncio.fixture(loop_scope="module")
async def settings(shared_server):
    """LangChain does not close the connections that it opens itself."""
    async with httpx2.AsyncClient() as connections:
        yield {"base_url": f"{shared_server.url}/v1", "api_key": "none", "http_async_client": connections}


def chat_model(settings, **more):
    return ChatOpenAI(model="gpt-4o", max_retries=0, **settings, **more)


@pytest.mark.parametrize("uses_responses", [False, True])
async def test_a_question_about_an_image_is_answered(settings, uses_responses):
    model = chat_model(settings, use_responses_api=uses_responses, temperature=0, max_tokens=50)
    answer = await model.ainvoke(QUESTION)

    assert answer.text == "It is what is this?"


@pytest.mark.parametrize("uses_responses", [False, True])
async def test_an_answer_streams(settings, uses_responses):
    model = chat_model(settings, use_responses_api=uses_responses, streaming=True)
    chunks = [chunk.text async for chunk in model.astream(QUESTION)]

    assert "".join(chunks) == "It is what is this?"
    assert len([text for text in chunks if text]) > 1


async def test_an_image_in_langchains_own_form_is_seen(settings):
    answer = await chat_model(settings).ainvoke([{"role": "user", "content": BLOCKS}])

    assert answer.text == "It is what is this?"


async def test_texts_are_embedded(shared_server, settings, monkeypatch):
    models = shared_server.usecases.models
    models.add_model(MATCH)
    shared_server.pool.set_models([*models])
    monkeypatch.setattr(shared_server.pool, "run_task", Matcher(shared_server.pool).run_task)
    embeddings = OpenAIEmbeddings(check_embedding_ctx_length=False, chunk_size=256, **settings)
    vectors = await embeddings.aembed_documents(["red", "green"])
    models.remove_model(MATCH.name)

    assert vectors == [pytest.approx([1, 0, 0], abs=1e-3), pytest.approx([0, 1, 0], abs=1e-3)]
