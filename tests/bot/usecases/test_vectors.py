"""Vectors over REST: whose images, in which order, and what waiting requests hold in memory."""

import asyncio

import pytest

from bot.errors import Blocked, MediaNotFound
from bot.jobs import Media
from bot.memory.fit import MachineSpec
from bot.models import ZERO_SHOT_IMAGE_CLASSIFICATION, ModelRegistry, ModelSpec
from bot.ports import DeviceStatus, Embedding, Offer, TaskOutput
from bot.usecases.free_memory import FreeMemory
from bot.usecases.match_tasks import MatchTasks
from bot.usecases.vectors import VectorUseCases
from tests.fakes import make_person

ANN, BEN = make_person(id="ann"), make_person(id="ben")
MATCH = ModelSpec(name="match", tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,), repo=".", capabilities={"revision": "r1"})
VECTOR = Embedding(model="match", revision="r1", count=1, width=1, vectors=b"\0\0")
BUSY = Offer(device="cpu", models=frozenset({"match"}), loaded=frozenset({"match"}), is_idle=False)
FREE = Offer(device="cpu", models=frozenset({"match"}), loaded=frozenset({"match"}))


class Images:
    """Ann's image "photo". `held`: how many images requests have read whose tasks have not ended."""

    def __init__(self):
        self.held = 0

    async def get_image(self, media_id, owner):
        if (media_id, owner) != ("photo", "ann"):
            raise MediaNotFound(media_id)

    async def read_media(self, media_id, owner):
        await self.get_image(media_id, owner)
        self.held += 1
        return Media(b"photo", "image/png")

    async def get_embedding(self, space, media_id):
        return None


class Pool:
    def __init__(self, images):
        self.images, self.offers, self.most_held, self.tasks = images, [FREE], 0, []

    def list_offers(self, reserved=None):
        return self.offers

    def device_statuses(self):
        return [DeviceStatus(device="cpu", state="ready", loaded=("match",))]

    async def run_task(self, task):
        self.tasks.append(task)
        self.most_held = max(self.most_held, self.images.held)
        await asyncio.sleep(0)
        self.images.held -= len(task.images)
        yield TaskOutput(embeddings=(VECTOR,), revision="r1")


@pytest.fixture
def images():
    return Images()


@pytest.fixture
def pool(images):
    return Pool(images)


@pytest.fixture
def vectors(images, pool, monkeypatch):
    monkeypatch.setattr("bot.usecases.match_tasks.POLL_S", 0.001)

    async def on_event(event):
        pass

    async def machine_spec():
        return MachineSpec(devices=(), ram_mb=9000, free_ram_mb=4000, disk_free_mb=9000)

    models = ModelRegistry({"match": MATCH})
    free_memory = FreeMemory(models=models, pool=pool, machine_spec=machine_spec)
    tasks = MatchTasks(models=models, pool=pool, on_event=on_event, free_memory=free_memory)
    return VectorUseCases(media=images, embeddings=images, tasks=tasks)


async def test_requests_that_wait_for_a_device_or_for_each_other_hold_no_images(vectors, images, pool):
    pool.offers = [BUSY]
    waiting = [asyncio.create_task(vectors.embed_image(ANN, "photo")) for _ in range(5)]
    await asyncio.sleep(0.01)
    assert images.held == 0

    pool.offers = [FREE]
    await asyncio.gather(*waiting)

    assert len(pool.tasks) == 5
    assert pool.most_held == 1


async def test_an_image_of_somebody_else_is_not_found_and_waits_for_nothing(vectors, pool):
    pool.offers = [BUSY]

    with pytest.raises(MediaNotFound):
        await vectors.embed_image(BEN, "photo")


async def test_a_blocked_person_gets_no_vectors(vectors, pool):
    blocked = make_person(id="ann", is_blocked=True)

    with pytest.raises(Blocked):
        await vectors.embed_text(blocked, "a hat")
    with pytest.raises(Blocked):
        await vectors.embed_image(blocked, "photo")
    assert pool.tasks == []


async def test_nobody_learns_from_the_time_of_an_answer_what_others_asked_for(vectors, pool):
    for person in (ANN, BEN, ANN):
        await vectors.embed_text(person, "a hat")

    assert len({task.fairness_key for task in pool.tasks}) == len(pool.tasks) == 2
