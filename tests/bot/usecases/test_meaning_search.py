"""Search by meaning: what is found when, whose it is, and that its pages stay as they were."""

import asyncio
import dataclasses
from types import SimpleNamespace

import pytest

from bot.errors import EngineError, MediaNotFound, StorageBusy
from bot.jobs import JobState, Media
from bot.memory.fit import MachineSpec
from bot.models import ZERO_SHOT_IMAGE_CLASSIFICATION, ModelRegistry, ModelSpec
from bot.ports import (
    ALL_JOBS,
    EMBED,
    DeviceStatus,
    Embedding,
    HistoryFilter,
    MatchScore,
    ModelCapabilities,
    NearPicture,
    Offer,
    TaskOutput,
)
from bot.usecases.free_memory import FreeMemory
from bot.usecases.match_tasks import MatchTasks
from bot.usecases.meaning_search import FoundPage, MeaningSearch
from tests.fakes import make_job, make_person

ANN, BEN = make_person(id="ann"), make_person(id="ben")
MATCH = ModelSpec(name="match", tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,), repo=".", capabilities={"revision": "r1"})
VECTOR = Embedding(model="match", revision="r1", count=1, width=2, vectors=b"\0" * 4)


class Library:
    """The jobs, pictures and vectors of people. `jobs`: newest first; `near`: similarities by job."""

    def __init__(self):
        self.jobs = []
        self.near = {}
        self.near_calls = []
        self.gate = None
        self.dropped = []

    def drop_cached(self, owners):
        self.dropped.append(owners)

    def add(self, job_id, words="", near=None, owner="ann", **fields):
        job = make_job(id=job_id, owner=owner, options={"prompt": words}, state=JobState.DELIVERED, **fields)
        self.jobs.insert(0, job)
        if near is not None:
            self.near[job_id] = near

    def _listed(self, owner, state, only, among=None):
        return [
            job
            for job in self.jobs
            if job.owner == owner
            and state in (None, job.state)
            and only.command in ("", job.command)
            and (among is None or job.id in among)
        ]

    async def list_ids(self, owner, *, state, q, only=ALL_JOBS, among=None, limit):
        words = q.split()
        listed = self._listed(owner, state, only, among)
        return [one.id for one in listed if all(word in one.options["prompt"] for word in words)][:limit]

    async def get_listed(self, owner, job_ids, *, state, only=ALL_JOBS):
        known = {job.id: job for job in self._listed(owner, state, only)}
        return [known[one] for one in job_ids if one in known]

    async def list_found(self, person, job_ids, *, state=None, only=ALL_JOBS):
        jobs = await self.get_listed(person.id, job_ids, state=state, only=only)
        return [SimpleNamespace(job=job) for job in jobs]

    async def find_nearest(self, owner, space, text, *, limit, among=None):
        self.near_calls.append((owner, space, among))
        if self.gate is not None:
            await self.gate.wait()
        own = [one.id for one in self.jobs if one.owner == owner and one.id in self.near]
        chosen = sorted((one for one in own if among is None or one in among), key=lambda one: -self.near[one])
        return [NearPicture(job=one, media=one, similarity=self.near[one]) for one in chosen][:limit]

    async def read_media(self, media_id, owner):
        if not any(job.id == media_id and job.owner == owner for job in self.jobs):
            raise MediaNotFound(media_id)
        return Media(media_id.encode(), "image/png")


class Pool:
    """`logits`: by picture; `error`: raised by every task."""

    def __init__(self):
        self.logits = {}
        self.tasks = []
        self.offers = [Offer(device="cpu", models=frozenset({"match"}))]
        self.error = None
        self.embeddings = (VECTOR,)
        self.gate = None
        self.loaded = ()

    def device_statuses(self):
        return [DeviceStatus(device="cpu", state="ready", loaded=self.loaded)]

    def list_offers(self, reserved=None):
        return self.offers

    async def run_task(self, task):
        self.tasks.append(task)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        yield ModelCapabilities(model="match", capabilities={"revision": "r1"})
        if task.command == EMBED:
            yield TaskOutput(embeddings=self.embeddings, revision="r1")
        else:
            yield TaskOutput(
                matches=tuple(MatchScore(self.logits.get(one.media.data.decode(), 0.0)) for one in task.images)
            )


@pytest.fixture
def library():
    return Library()


@pytest.fixture
def pool():
    return Pool()


async def machine_spec():
    return MachineSpec(devices=(), ram_mb=9000, free_ram_mb=4000, disk_free_mb=9000)


def make_search(library, pool, *models, **fields):
    async def on_event(event):
        pass

    registry = ModelRegistry({one.name: one for one in models or (MATCH,)})
    free_memory = FreeMemory(models=registry, pool=pool, machine_spec=machine_spec)
    tasks = MatchTasks(models=registry, pool=pool, on_event=on_event, free_memory=free_memory)
    parts = {"jobs": library, "history": library, "embeddings": library, "media": library, "tasks": tasks}
    return MeaningSearch(**(parts | fields))


@pytest.fixture
async def search(library, pool):
    search = make_search(library, pool)
    yield search
    await search.close()


def ids(page: FoundPage):
    return [ticket.job.id for ticket in page.tickets]


async def test_words_and_meaning_are_one_list_that_matching_reorders(library, pool, search):
    library.add("hat", "a red hat", near=0.6)
    library.add("fox", "a fox", near=0.9)
    library.add("cap", "a cap", near=0.8)
    library.add("sun", "the sun", near=0.1)
    pool.logits = {"hat": -2.0, "fox": -1.0, "cap": 3.0}

    first = await search.search(ANN, "hat")
    final = await search.search(ANN, "hat", is_refined=True)

    assert set(ids(first)) == {"hat", "fox", "cap"}
    assert ids(final) == ["cap", "fox", "hat"]
    assert (final.total, final.next, final.is_refined) == (3, None, True)
    assert [task.command for task in pool.tasks][:2] == ["embed", "rank"]
    assert pool.tasks[1].options == {"text": "hat"}


async def test_the_first_answer_does_not_wait_for_models(library, pool, search, monkeypatch):
    monkeypatch.setattr("bot.usecases.meaning_search.PATIENCE_S", 0.01)
    library.add("hat", "a red hat")
    library.add("fox", "a fox", near=0.9)
    pool.gate = asyncio.Event()

    first = await search.search(ANN, "hat")
    waiting = asyncio.create_task(search.search(ANN, "hat", is_refined=True))
    await asyncio.sleep(0)
    pool.gate.set()

    assert (ids(first), first.is_refined) == (["hat"], False)
    final = await waiting
    assert (set(ids(final)), final.is_refined) == ({"hat", "fox"}, True)


async def test_an_answer_that_waits_too_long_has_the_words(library, pool, search):
    library.add("hat", "a red hat")
    pool.gate = asyncio.Event()

    found = await search.search(ANN, "hat", is_refined=True, wait_s=0.01)

    assert (ids(found), found.is_refined) == (["hat"], False)


async def test_nobody_finds_what_belongs_to_others(library, pool, search):
    library.add("own", "a hat", near=0.5)
    library.add("his", "a hat", near=0.9, owner="ben")

    assert ids(await search.search(ANN, "hat", is_refined=True)) == ["own"]
    assert ids(await search.search(BEN, "hat", is_refined=True)) == ["his"]
    assert {owner for owner, *_ in library.near_calls} == {"ann", "ben"}
    assert len({task.fairness_key for task in pool.tasks if task.command == "embed"}) == 2
    assert "" not in {task.fairness_key for task in pool.tasks}


async def test_the_pages_of_a_list_follow_each_other_and_deleted_jobs_leave_gaps(library, pool, search):
    for n in range(10):
        library.add(f"job{n}", "a hat", near=0.9 - n / 100)
    pool.logits = {f"job{n}": n for n in range(10)}

    first = await search.search(ANN, "hat", limit=4)
    first = await search.search(ANN, "hat", limit=4, is_refined=True)
    library.jobs = [job for job in library.jobs if job.id != "job5"]
    second = await search.search(ANN, "hat", before=first.next, limit=4)
    third = await search.search(ANN, "hat", before=second.next, limit=4)
    other = await search.search(ANN, "hat", offset=4, limit=4)

    found = [*ids(first), *ids(second), *ids(third)]
    assert sorted(found) == sorted(f"job{n}" for n in range(10) if n != 5)
    assert ids(other) == ids(second)
    assert (first.total, third.next) == (10, None)


@pytest.mark.parametrize("deleted", [[4], [3, 4], [0, 1, 2, 3, 4]])
async def test_deleting_the_last_jobs_of_a_page_hides_nothing_that_follows(library, pool, search, deleted):
    for n in range(10):
        library.add(f"job{n}", "a hat", near=0.9 - n / 100)
    first = await search.search(ANN, "hat", limit=5, is_refined=True)
    gone = [ids(first)[place] for place in deleted]
    library.jobs = [job for job in library.jobs if job.id not in gone]
    search.forget({"ann"})

    second = await search.search(ANN, "hat", before=first.next, limit=20)

    assert {f"job{n}" for n in range(10)} - set(ids(first)) <= set(ids(second))
    assert second.next is None


async def test_a_page_after_a_restart_continues_the_list(library, pool, search):
    for n in range(6):
        library.add(f"job{n}", "a hat", near=0.9 - n / 100)
    first = await search.search(ANN, "hat", limit=3, is_refined=True)

    restarted = make_search(library, pool)
    second = await restarted.search(ANN, "hat", before=first.next, limit=3, is_refined=True)
    await restarted.close()

    assert not set(ids(first)) & set(ids(second))
    assert len(ids(second)) == 3


async def test_a_page_after_a_job_that_is_not_listed_is_empty(library, search):
    library.add("hat", "a hat")

    assert ids(await search.search(ANN, "hat", before="gone")) == []


async def test_a_new_search_sees_what_is_new(library, pool, search):
    library.add("one", "a hat")
    await search.search(ANN, "hat")
    library.add("two", "a hat")

    assert set(ids(await search.search(ANN, "hat"))) == {"one", "two"}


async def test_a_search_that_is_repeated_to_the_end_sees_what_is_new(library, pool, search):
    library.add("one", "a hat")
    await search.search(ANN, "hat", is_refined=True)
    library.add("two", "something", near=0.9)

    assert set(ids(await search.search(ANN, "hat", is_refined=True))) == {"one", "two"}


async def test_a_search_that_ended_early_is_tried_again(library, pool, search, monkeypatch):
    monkeypatch.setattr("bot.usecases.meaning_search.PATIENCE_S", 0.0)
    monkeypatch.setattr("bot.usecases.meaning_search.LIMIT_S", 0.01)
    library.add("fox", "a fox", near=0.9)
    pool.gate = asyncio.Event()
    first = await search.search(ANN, "hat")
    [ranking] = search._rankings.values()
    await ranking.is_done.wait()
    monkeypatch.setattr("bot.usecases.meaning_search.LIMIT_S", 60.0)
    pool.gate.set()

    assert (ids(first), first.is_refined) == ([], False)
    assert ids(await search.search(ANN, "hat", is_refined=True)) == ["fox"]


async def test_a_blocked_person_finds_words_and_uses_no_model(library, pool, search):
    library.add("hat", "a hat")
    library.add("fox", "a fox", near=0.9)

    found = await search.search(make_person(id="ann", is_blocked=True), "hat", is_refined=True)

    assert (ids(found), found.is_refined, pool.tasks) == (["hat"], True, [])


async def test_filters_apply_before_the_ranking(library, pool, search):
    library.add("hat", "a hat", near=0.8)
    library.add("said", "a hat", near=0.9, command="caption")
    only = HistoryFilter(command="imagine")

    found = await search.search(ANN, "something", only=only, is_refined=True)
    results = await search.search(ANN, "something", only=HistoryFilter(results=True), is_refined=True)

    assert (ids(found), found.total) == (["hat"], 1)
    assert set(ids(results)) == {"hat", "said"}
    assert [among for *_, among in library.near_calls] == [["hat"], None]


@pytest.mark.parametrize(
    "words", ['" OR 1=1 --', "NEAR(", "\u202e*\u0000", "'; DROP TABLE job", "%_\\", "\ud800", "🙂" * 60]
)
async def test_hostile_words_find_nothing_and_break_nothing(library, search, words):
    library.add("hat", "a hat")

    assert ids(await search.search(ANN, words, is_refined=True)) == []


async def test_words_that_the_model_does_not_know_are_only_looked_up(library, pool, search):
    library.add("hat", "ein Hut")
    library.add("fox", "a fox", near=0.9)
    pool.embeddings = ()

    found = await search.search(ANN, "Hut", is_refined=True)
    again = await search.search(ANN, "Hut", is_refined=True)

    assert (ids(found), found.is_refined, ids(again)) == (["hat"], True, ["hat"])
    assert len(pool.tasks) == 1


@pytest.mark.parametrize("error", [EngineError("broken"), RuntimeError("a bug")])
async def test_a_model_that_fails_leaves_the_words(library, pool, search, error):
    library.add("hat", "a hat", near=0.9)
    pool.error = error

    found = await search.search(ANN, "hat", is_refined=True)

    assert (ids(found), found.is_refined) == (["hat"], True)


async def test_without_a_model_or_switched_off_words_are_found(library, pool):
    library.add("hat", "a hat")
    library.add("fox", "a fox", near=0.9)
    painter = ModelSpec(name="paint", tasks=("text-to-image",), repo=".")

    for search in (make_search(library, pool, painter), make_search(library, pool, is_enabled=False)):
        found = await search.search(ANN, "hat", is_refined=True)
        assert (ids(found), found.is_refined) == (["hat"], True)
    assert pool.tasks == []


async def test_no_pictures_at_all(library, search):
    found = await search.search(ANN, "hat", is_refined=True)

    assert (ids(found), found.total, found.next) == ([], 0, None)


async def test_a_picture_that_is_deleted_before_it_is_matched_is_left_out(library, pool, search, monkeypatch):
    for n in range(3):
        library.add(f"job{n}", near=0.9)

    async def read_media(media_id, owner):
        if media_id == "job1":
            raise MediaNotFound(media_id)
        return Media(media_id.encode(), "image/png")

    monkeypatch.setattr(library, "read_media", read_media)

    await search.search(ANN, "hat", is_refined=True)

    assert {one.media.data for one in pool.tasks[-1].images} == {b"job0", b"job2"}


async def test_pictures_that_are_too_large_together_keep_their_places(library, pool, search, monkeypatch):
    monkeypatch.setattr("bot.usecases.meaning_search.MAX_MATCHED_BYTES", 8)
    for n in range(3):
        library.add(f"job{n}", near=0.9 - n / 100)
    pool.logits = {"job0": -1.0, "job1": 1.0, "job2": 9.0}

    assert ids(await search.search(ANN, "hat", is_refined=True)) == ["job1", "job0", "job2"]
    assert [one.media.data for one in pool.tasks[-1].images] == [b"job0", b"job1"]


async def test_a_persons_next_search_ends_the_one_before(library, pool, search, monkeypatch):
    monkeypatch.setattr("bot.usecases.meaning_search.PATIENCE_S", 0.0)
    pool.gate = asyncio.Event()
    await search.search(ANN, "h")
    await search.search(BEN, "h")
    await asyncio.sleep(0)
    await search.search(ANN, "ha")
    await asyncio.sleep(0)

    assert [ranking.work.cancelling() for ranking in search._rankings.values()] == [1, 0, 0]


async def test_people_wait_for_slots_that_newcomers_do_not_need(library, pool, search):
    library.add("hat", "a hat", near=0.9)
    full = Offer(device="cpu", models=frozenset({"match"}), loaded=frozenset({"match"}), is_idle=False)
    pool.offers = [full]

    assert not (await search.search(ANN, "hat", is_refined=True, wait_s=0.1)).is_refined
    assert pool.tasks == []
    pool.offers = [Offer(device="cpu", models=full.models, loaded=full.loaded, spare=full.loaded, is_idle=False)]
    assert (await search.search(ANN, "hat", is_refined=True)).is_refined


async def test_a_search_unloads_no_model_that_others_use(library, pool):
    library.add("hat", "a hat", near=0.9)
    search = make_search(library, pool, dataclasses.replace(MATCH, memory_mb=4600))
    pool.loaded = ("paint",)

    assert not (await search.search(ANN, "hat", is_refined=True, wait_s=0.1)).is_refined
    assert pool.tasks == []
    pool.loaded = ()
    assert (await search.search(ANN, "hat", is_refined=True)).is_refined
    await search.close()


async def test_lists_are_few_and_do_not_stay_for_ever(library, pool, monkeypatch):
    monkeypatch.setattr("bot.usecases.meaning_search.MAX_LISTS", 3)
    now = [0.0]
    search = make_search(library, pool, clock=lambda: now[0])
    library.add("hat", "a hat")
    library.add("cap", "a hat")
    for words in ("a", "b", "c", "d", "hat"):
        await search.search(ANN, words, is_refined=True)

    assert len(search._rankings) == 3
    library.add("new", "a hat")
    assert (await search.search(ANN, "hat", offset=1)).total == 2
    now[0] = 700.0
    assert (await search.search(ANN, "hat", offset=1)).total == 3
    await search.close()


async def test_a_busy_database_is_an_error(library, search, monkeypatch):
    async def list_ids(*_, **__):
        raise StorageBusy

    monkeypatch.setattr(library, "list_ids", list_ids)

    with pytest.raises(StorageBusy):
        await search.search(ANN, "hat")


async def test_what_is_erased_leaves_nothing_in_memory(library, pool, search):
    library.add("hat", "a hat", near=0.9)
    library.add("his", "a hat", near=0.9, owner="ben")
    await search.search(ANN, "hat", is_refined=True)
    await search.search(BEN, "hat", is_refined=True)

    search.forget({"ann"})

    assert [one.owner for one in search._rankings] == ["ben"]
    assert library.dropped == [{"ann"}]
    assert not search.tasks._texts
