"""`/v1/embeddings`: vectors of texts and images by a matching model that knows the colours."""

import base64
import struct

import pytest

from tests.openai_api.openai_bodies import EMBEDDINGS, data_url, error_of
from tests.web.test_meaning_search import MATCH, Matcher, photo

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def matcher(shared_server, monkeypatch):
    models = shared_server.usecases.models
    models.add_model(MATCH)
    shared_server.pool.set_models([*models])
    monkeypatch.setattr(shared_server.pool, "run_task", Matcher(shared_server.pool).run_task)
    yield
    models.remove_model(MATCH.name)


async def vectors_of(client, **body):
    answer = await client.post(EMBEDDINGS, json={"model": "text-embedding-3-small", **body})
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == "match"
    return [one["embedding"] for one in answer.json()["data"]]


async def test_each_text_has_a_vector_in_its_place(client, matcher):
    red, green = await vectors_of(client, input=["red", "green"])

    assert red == pytest.approx([1, 0, 0], abs=1e-3)
    assert green == pytest.approx([0, 1, 0], abs=1e-3)


async def test_base64_holds_the_same_vector(client, matcher):
    (text,) = await vectors_of(client, input="red", encoding_format="base64")

    assert struct.unpack("<3f", base64.b64decode(text)) == pytest.approx([1, 0, 0], abs=1e-3)


async def test_an_image_has_the_mean_of_its_vectors_with_length_1(client, matcher):
    (vector,) = await vectors_of(client, input=data_url(photo("red")))

    assert vector == pytest.approx([0.5**0.5, 0, 0.5**0.5], abs=1e-2)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"input": []}, "input", "a list of texts"),
        ({"input": [1, 2]}, "input", "not tokens"),
        ({"input": [[1, 2]]}, "input", "check_embedding_ctx_length=False"),
        ({"input": "x" * 1001}, "input", "1001 characters"),
        ({"input": ["x"] * 257}, "input", "at most 256 texts"),
        ({"input": ""}, "input", "input is required"),
        ({"input": "mauve"}, "input", "knows none of these words"),
        ({"input": "red", "dimensions": 2}, "dimensions", "leave it out"),
        ({"input": "red", "encoding_format": "int8"}, "encoding_format", "Choose one of"),
        ({"input": "red", "model": "paint"}, "model", "match"),
    ],
    ids=str,
)
async def test_what_has_no_vector_is_refused(client, matcher, fields, param, words):
    answer = await client.post(EMBEDDINGS, json=fields)

    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert words in error["message"]


async def test_without_a_matching_model_there_are_no_embeddings(client):
    error_of(await client.post(EMBEDDINGS, json={"input": "red"}), 404, "model_not_found")
