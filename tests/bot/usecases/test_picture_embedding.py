"""Embedding pictures in the background: which, when, and that people come first."""

import asyncio
from collections import Counter
from typing import Any, cast

import pytest

from bot.errors import EngineError, Interrupted, MediaNotFound, ModelUnavailable, WorkerLost
from bot.jobs import Media
from bot.memory.fit import MachineSpec
from bot.models import ZERO_SHOT_IMAGE_CLASSIFICATION, ModelRegistry, ModelSpec
from bot.ports import DeviceStatus, Embedding, Offer, TaskOutput
from bot.usecases.free_memory import FreeMemory
from bot.usecases.match_tasks import MatchTasks
from bot.usecases.picture_embedding import IDLE_LOAD_S, LOOK_THROUGH_S, MAX_TRIES, RETRY_S, PictureEmbedder
from tests.fakes import make_job

TASKS = (ZERO_SHOT_IMAGE_CLASSIFICATION,)
MATCH = ModelSpec(name="match", tasks=TASKS, repo=".", memory_mb=4000, capabilities={"revision": "r1"})
PAINT = ModelSpec(name="paint", tasks=("text-to-image",), repo=".", memory_mb=6000)


class Store:
    """`pictures`: newest first. `rows`: (revision, count) by picture."""

    def __init__(self, *pictures):
        self.pictures = list(pictures)
        self.rows = {}
        self.kept = []
        self.looked_before = []

    async def list_unembedded(self, space, *, before, limit):
        self.looked_before.append(before)
        start = before or 0
        chunk = self.pictures[start : start + limit]
        following = start + limit if start + limit < len(self.pictures) else None
        return [one for one in chunk if self.rows.get(one, ("",))[0] != space.revision], following

    async def save_embedding(self, media_id, embedding):
        self.rows[media_id] = (embedding.revision, embedding.count)
        return True

    async def keep_models(self, models):
        self.kept.append(list(models))
        return 0

    async def read_media(self, media_id, owner):
        if media_id == "deleted":
            raise MediaNotFound(media_id)
        return Media(media_id.encode(), "image/png")


class Device:
    """A pool with one device that makes embeddings in the revision that its model has."""

    def __init__(self):
        self.loaded: tuple[str, ...] = ("match",)
        self.running = 0
        self.device = "cpu"
        self.revision = "r1"
        self.errors = {}
        self.made = []

    def list_offers(self, reserved=None):
        loaded = frozenset(self.loaded)
        return [
            Offer(device=self.device, models=frozenset({"match", "paint"}), loaded=loaded, is_idle=not self.running)
        ]

    def device_statuses(self):
        return [DeviceStatus(device=self.device, state="ready", loaded=self.loaded, memory_mb=10_000)]

    async def run_task(self, task):
        name = task.images[0].media.data.decode()
        self.made.append(name)
        assert len(task.images) == 1
        assert not self.running
        if self.errors.get(name):
            raise self.errors[name].pop(0)
        self.loaded = tuple(dict.fromkeys((*self.loaded, "match")))
        one = Embedding(model="match", revision=self.revision, count=1, width=1, vectors=b"\0\0")
        yield TaskOutput(embeddings=(one,), seconds=2.0, revision=self.revision)


class Easel:
    """What an embedder needs; `sleeps` are those that it asked for, and `on_sleep` is called with each."""

    def __init__(self, *pictures, models=(MATCH, PAINT), free_ram_mb=20_000, **fields):
        self.store, self.device = Store(*pictures), Device()
        self.now, self.sleeps, self.open = 0.0, [], (0, 0)
        self.on_sleep: Any = lambda _seconds: None
        self.machine = MachineSpec(devices=(), ram_mb=32_000, free_ram_mb=free_ram_mb, disk_free_mb=1)

        async def on_event(event):
            pass

        self.models = ModelRegistry({one.name: one for one in models})
        pool = cast("Any", self.device)
        limits = {name: fields.pop(name) for name in ("max_loaded_models", "loaded_models_mb") if name in fields}
        free_memory = FreeMemory(models=self.models, pool=pool, machine_spec=self.machine_spec, **limits)
        tasks = MatchTasks(models=self.models, pool=pool, on_event=on_event, free_memory=free_memory)
        parts: dict[str, Any] = {
            "embeddings": self.store,
            "media": self.store,
            "tasks": tasks,
            "count_open": self.count_open,
        }
        parts |= {"free_memory": free_memory, "clock": lambda: self.now, "sleep": self.sleep}
        self.embedder = PictureEmbedder(**(parts | fields))

    async def count_open(self):
        return self.open

    async def machine_spec(self):
        return self.machine

    async def sleep(self, seconds):
        self.now += seconds
        self.sleeps.append(seconds)
        self.on_sleep(seconds)
        await asyncio.sleep(0)

    async def run(self, rounds=200):
        """Until nothing is left to do, or for so many rounds of the event loop."""
        running = asyncio.create_task(self.embedder.run_forever())
        for _ in range(rounds):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_every_picture_is_embedded_once_newest_first():
    easel = Easel("c", "b", "a")

    await easel.run()
    await easel.run()

    assert easel.device.made == ["c", "b", "a"]
    assert easel.store.rows == dict.fromkeys("cba", ("r1", 1))


async def test_it_rests_as_long_as_it_works():
    easel = Easel("b", "a")

    await easel.run()

    assert easel.sleeps == [2.0, 2.0]


@pytest.mark.parametrize("busy", ["queued", "running", "device"])
async def test_it_stops_after_the_picture_that_it_is_at_when_anybody_waits(busy):
    easel = Easel("c", "b", "a")

    def on_sleep(_):
        if easel.device.made == ["c"]:
            easel.open = {"queued": (1, 0), "running": (0, 1), "device": (0, 0)}[busy]
            easel.device.running = int(busy == "device")

    easel.on_sleep = on_sleep
    await easel.run()
    assert easel.device.made == ["c"]

    easel.on_sleep = lambda _: None
    easel.open, easel.device.running = (0, 0), 0
    await easel.run()
    assert easel.device.made == ["c", "b", "a"]


async def test_new_pictures_come_before_the_rest():
    easel = Easel("b", "a")

    def on_sleep(_):
        if easel.device.made == ["b"]:
            easel.store.pictures.insert(0, "new")
            easel.embedder.observe(make_job())

    easel.on_sleep = on_sleep
    await easel.run()

    assert easel.device.made == ["b", "new", "a"]


async def test_after_all_is_done_it_waits_for_news():
    easel = Easel("a")
    running = asyncio.create_task(easel.embedder.run_forever())
    for _ in range(50):
        await asyncio.sleep(0)
    easel.store.pictures.insert(0, "b")
    easel.embedder.observe(make_job())
    for _ in range(50):
        await asyncio.sleep(0)
    running.cancel()

    assert easel.device.made == ["a", "b"]


async def test_once_a_history_is_looked_through_only_its_newest_jobs_are_looked_at(monkeypatch):
    for name in ("CHUNK", "RECENT"):
        monkeypatch.setattr(f"bot.usecases.picture_embedding.{name}", 2)
    easel = Easel(*"hgfedcba")
    running = asyncio.create_task(easel.embedder.run_forever())
    looked = []
    for wait_s in (0.0, 1.0, LOOK_THROUGH_S):
        easel.now += wait_s
        easel.store.looked_before.clear()
        easel.embedder.observe(make_job())
        for _ in range(100):
            await asyncio.sleep(0)
        looked.append(list(easel.store.looked_before))
    running.cancel()

    assert looked[0][-1] == 6
    assert looked[1:] == [[None, 2], [None, 2, 4, 6]]


@pytest.mark.parametrize(
    ("loaded", "free_ram_mb", "limits", "loads"),
    [
        ((), 0, {}, True),
        (("paint",), 20_000, {}, True),
        (("paint",), 5_000, {}, False),
        (("paint",), 20_000, {"max_loaded_models": 1}, False),
        (("paint",), 20_000, {"loaded_models_mb": 9_000}, False),
        (("paint",), 20_000, {"loaded_models_mb": 10_000}, True),
    ],
)
async def test_the_model_is_only_loaded_into_room_that_nothing_else_needs(loaded, free_ram_mb, limits, loads):
    easel = Easel("a", free_ram_mb=free_ram_mb, **limits)
    easel.device.loaded = loaded

    await easel.run(2000)

    assert bool(easel.device.made) is loads
    assert easel.now >= IDLE_LOAD_S


async def test_a_graphics_cards_own_memory_counts():
    easel = Easel("a", free_ram_mb=100_000)
    easel.device.device, easel.device.loaded = "cuda:0", ("paint",)
    for total, made in ((12_000, []), (15_000, ["a"])):
        easel.machine = MachineSpec(devices=(("cuda:0", "cuda", total),), ram_mb=1, free_ram_mb=1, disk_free_mb=1)
        await easel.run(2000)
        assert easel.device.made == made


async def test_it_waits_with_loading_until_the_devices_were_idle_for_a_while():
    easel = Easel("a")
    easel.device.loaded = ()

    def on_sleep(_):
        if easel.now < 100:
            easel.embedder.observe(make_job())

    easel.on_sleep = on_sleep
    await easel.run(3000)

    assert easel.device.made == ["a"]
    assert 100 + IDLE_LOAD_S <= easel.now <= 100 + IDLE_LOAD_S + 10


async def test_another_revision_embeds_everything_anew():
    easel = Easel("b", "a")
    await easel.run()
    easel.device.revision = "r2"
    easel.store.pictures.insert(0, "c")

    await easel.run()

    assert easel.store.rows == dict.fromkeys("abc", ("r2", 1))
    assert Counter(easel.device.made) == {"a": 2, "b": 2, "c": 1}


@pytest.mark.parametrize("error", [EngineError("no image"), WorkerLost(was_alone=True)], ids=["refused", "crash"])
async def test_a_picture_that_fails_twice_is_remembered_and_the_others_go_on(error):
    easel = Easel("bad", "good")
    easel.device.errors["bad"] = [error] * 5

    await easel.run()
    await easel.run()

    assert Counter(easel.device.made) == {"bad": MAX_TRIES, "good": 1}
    assert easel.store.rows == {"bad": ("r1", 0), "good": ("r1", 1)}
    assert RETRY_S in easel.sleeps


async def test_a_picture_that_fails_once_is_tried_again():
    easel = Easel("a")
    easel.device.errors["a"] = [EngineError("a hiccup")]

    await easel.run()

    assert easel.store.rows == {"a": ("r1", 1)}


@pytest.mark.parametrize("error", [Interrupted(), ModelUnavailable("match"), RuntimeError("a bug")])
async def test_failures_that_are_not_the_pictures_are_not_remembered(error):
    easel = Easel("a")
    easel.device.errors["a"] = [error] * 4

    await easel.run()

    assert easel.store.rows == {"a": ("r1", 1)}
    doublings = [0] * 4 if isinstance(error, Interrupted) else range(4)
    assert easel.sleeps[:4] == [RETRY_S * 2**times for times in doublings]


async def test_a_picture_that_was_deleted_meanwhile_is_left_out():
    easel = Easel("deleted", "a")

    await easel.run()

    assert easel.device.made == ["a"]


async def test_a_demo_only_embeds_what_demos_made():
    demo = ModelSpec(name="match", tasks=TASKS, repo=".", demo=True)
    easel = Easel(models=(demo, ModelSpec(name="draw", tasks=("text-to-image",), repo=".", demo=True)))

    assert easel.embedder.tasks.space_of(demo).makers == frozenset({"match", "draw"})
    assert Easel().embedder.tasks.space_of(MATCH).makers is None


async def test_what_models_computed_that_are_gone_is_deleted_and_everything_if_it_is_switched_off():
    easel, off, none = Easel("a"), Easel("a", is_enabled=False), Easel("a", models=(PAINT,))
    for one in (easel, off, none):
        await one.run()

    assert (easel.store.kept[0], off.store.kept, none.store.kept[0]) == (["match"], [[]], [])
    assert off.device.made == none.device.made == []


async def test_a_model_that_is_removed_while_it_waits_ends_the_round():
    easel = Easel("a")
    easel.open = (1, 0)
    easel.on_sleep = lambda _: easel.models.remove_model("match")

    await easel.run()

    assert easel.device.made == []
    assert easel.store.rows == {}
