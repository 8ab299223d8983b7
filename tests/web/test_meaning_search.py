"""Search by meaning and vectors through REST, with the real database; the matching model is an average of colours."""

import asyncio
import io
import struct

import pytest
import pytest_asyncio
from PIL import Image

from bot.errors import EngineError
from bot.models import ZERO_SHOT_IMAGE_CLASSIFICATION, ModelSpec
from bot.ports import EMBED, RANK, Embedding, MatchScore, TaskOutput
from tests.web.api_client import ask, imagine, make, problem, upload
from tests.web.conftest import open_client

pytestmark = pytest.mark.asyncio(loop_scope="module")
MATCH = ModelSpec(name="match", tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,), repo="match", capabilities={"revision": "r1"})
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "violet": (160, 0, 255)}


def to_embedding(*rows):
    length = len(rows[0])
    vectors = struct.pack(f"<{len(rows) * length}e", *(value for row in rows for value in row))
    return Embedding(model="match", revision="r1", count=len(rows), width=length, vectors=vectors)


def normalise(colour):
    size = sum(part**2 for part in colour) ** 0.5 or 1.0
    return tuple(part / size for part in colour)


def colour_of(data):
    with Image.open(io.BytesIO(data)) as image:
        return normalise(image.convert("RGB").resize((1, 1)).getpixel((0, 0)))


def colour_named(text):
    return next((normalise(COLOURS[word]) for word in text.split() if word in COLOURS), None)


def photo(colour):
    file = io.BytesIO()
    Image.new("RGB", (32, 32), COLOURS[colour]).save(file, "PNG")
    return file.getvalue()


class Matcher:
    """Runs EMBED and RANK in place of the pool, which runs everything else."""

    def __init__(self, pool):
        self.run_others, self.commands, self.is_broken = pool.run_task, [], False

    async def run_task(self, task):
        if task.command not in (EMBED, RANK):
            async for event in self.run_others(task):
                yield event
            return
        self.commands.append(task.command)
        if self.is_broken:
            raise EngineError("the secret inner reason")
        colours = [colour_of(one.media.data) for one in task.images]
        wanted = colour_named(str(task.options.get("text", "")))
        if task.command == RANK:
            nearness = (sum(map(lambda a, b: a * b, colour, wanted)) for colour in colours)
            yield TaskOutput(matches=tuple(MatchScore(10 * one - 5, one) for one in nearness))
        elif colours:
            yield TaskOutput(embeddings=tuple(to_embedding(one, (0.0, 0.0, 1.0)[:3]) for one in colours), revision="r1")
        else:
            yield TaskOutput(embeddings=() if wanted is None else (to_embedding(wanted),), revision="r1")


@pytest_asyncio.fixture(loop_scope="module")
async def matcher(server, monkeypatch):
    server.usecases.models.add_model(MATCH)
    server.pool.set_models([*server.usecases.models])
    matcher = Matcher(server.pool)
    monkeypatch.setattr(server.pool, "run_task", matcher.run_task)
    monkeypatch.setattr("bot.usecases.picture_embedding.POLL_S", 0.01)
    embedding = asyncio.create_task(server.application.picture_embedder.run_forever())
    yield matcher
    embedding.cancel()
    await asyncio.gather(embedding, return_exceptions=True)
    await server.usecases.search.close()


async def show(client, colour):
    """A job about a photo, whose words say nothing of the colour."""
    photo_id = (await upload(client, photo(colour)))["id"]
    return await make(client, {"command": "caption", "images": [photo_id]})


async def wait_until_embedded(server):
    space = server.usecases.search.tasks.space_of(MATCH)
    async with asyncio.timeout(10):
        while (await server.storage.embeddings.list_unembedded(space, before=None, limit=100))[0]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def search(client, q, **query):
    answer = await client.get("/api/v1/jobs", params={"q": q, "meaning": "true", "refine": "true", **query})
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(page):
    return [job["id"] for job in page["jobs"]]


async def test_photos_without_words_are_found_beside_words_in_one_list(server, client, matcher):
    red, blue = await show(client, "red"), await show(client, "blue")
    words = await make(client, imagine("a red hat", seed=2))
    await wait_until_embedded(server)

    by_words = (await client.get("/api/v1/jobs", params={"q": "red"})).json()
    first = (await client.get("/api/v1/jobs", params={"q": "red", "meaning": "true"})).json()
    found = await search(client, "red")

    assert ids(by_words) == [words["id"]]
    assert "refined" not in by_words
    assert {red["id"], words["id"]} <= set(ids(found))
    assert ids(found)[0] in (red["id"], words["id"])
    assert blue["id"] not in ids(found)
    assert found["refined"] is True
    assert first["total"] == found["total"] == len(ids(found))
    assert matcher.commands.count(RANK) <= 2


async def test_pages_follow_each_other(server, client, matcher):
    made = [await show(client, colour) for colour in ("red", "violet", "blue")]
    made.append(await make(client, imagine("a red hat")))
    await wait_until_embedded(server)

    everything, found = await search(client, "red", limit=100), []
    before: dict[str, str] = {}
    for _ in range(10):
        page = await search(client, "red", limit=1, **before)
        found += ids(page)
        if page["next"] is None:
            break
        before = {"before": page["next"]}

    assert sorted(found) == sorted(ids(everything))
    assert len(set(found)) == len(found) == everything["total"]


async def test_deleted_pictures_and_those_of_others_are_never_found(server, client, matcher):
    _, own_key = await server.usecases.people.create_key(None, is_admin=True)
    key = await server.create_key("Ben")
    client.headers["Authorization"] = f"Bearer {own_key}"
    red = await show(client, "red")
    await wait_until_embedded(server)
    assert ids(await search(client, "red")) == [red["id"]]

    async with open_client(server) as other:
        other.headers["Authorization"] = f"Bearer {key}"
        assert await search(other, "red") == {"jobs": [], "next": None, "total": 0, "refined": True}
        image = red["images"][0]["id"]
        problem(await other.post("/api/v1/embeddings", json={"image": image}), 404, "not_found")
    assert (await client.delete(f"/api/v1/jobs/{red['id']}?erase=true")).status_code == 204

    assert ids(await search(client, "red")) == []


async def test_a_broken_model_and_hostile_words_leave_the_words(server, client, matcher):
    words = await make(client, imagine("a red hat"))
    matcher.is_broken = True

    assert ids(await search(client, "red")) == [words["id"]]
    for hostile in ('" OR 1', "NEAR(", "*", "a" * 200, "猫"):
        assert ids(await search(client, hostile)) == []
    problem(await client.get("/api/v1/jobs", params={"q": "a" * 201, "meaning": "true"}), 422, "invalid_option")
    problem(await client.get("/api/v1/jobs", params={"q": "a", "meaning": "yes"}), 422, "invalid_option")
    problem(await client.get("/api/v1/jobs?q=a&meaning=true&after=aaaaaaaa"), 422, "invalid_option")


async def test_without_words_the_list_is_the_ordinary_one(client, matcher):
    job = await ask(client, imagine("a red hat"))

    page = (await client.get("/api/v1/jobs", params={"meaning": "true"})).json()

    assert (ids(page), "refined" in page) == ([job["id"]], False)


async def test_vectors_of_texts_and_own_images_share_a_space(client, matcher):
    image = (await upload(client, photo("red")))["id"]

    text = (await client.post("/api/v1/embeddings", json={"text": "a  red hat"})).json()
    seen = (await client.post("/api/v1/embeddings", json={"image": image})).json()

    assert text == {"model": "match", "revision": "r1", "vectors": [[1.0, 0.0, 0.0]], "mean": [1.0, 0.0, 0.0]}
    assert seen["vectors"] == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert seen["mean"] == [0.5, 0.0, 0.5]


async def test_a_stored_vector_is_not_computed_again(server, client, matcher):
    red = await show(client, "red")
    await wait_until_embedded(server)
    matcher.is_broken = True

    seen = await client.post("/api/v1/embeddings", json={"image": red["images"][0]["id"]})

    assert seen.json()["vectors"][0] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, 'either "text" or "image"'),
        ({"text": "red", "image": "0" * 64}, 'either "text" or "image"'),
        ({"text": " \u200b"}, "text is required"),
        ({"text": "xyz"}, "knows none of these words"),
        ({"text": "a" * 1001}, ""),
        ({"text": 7}, ""),
        ({"words": "red"}, ""),
    ],
)
async def test_a_request_that_makes_no_sense_is_one_sentence(client, matcher, body, sentence):
    detail = problem(await client.post("/api/v1/embeddings", json=body), 422, "invalid_option")["detail"]

    assert sentence in detail


async def test_without_a_matching_model_a_sentence_says_so(client):
    answer = await client.post("/api/v1/embeddings", json={"text": "red"})

    assert "the owner can add a model" in problem(answer, 422, "invalid_option")["detail"]


async def test_a_model_that_fails_is_an_incident_without_its_reason(client, matcher):
    matcher.is_broken = True

    answer = await client.post("/api/v1/embeddings", json={"text": "red"})

    assert answer.status_code >= 500
    assert "secret" not in answer.text
