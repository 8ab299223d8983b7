"""Deleted data leaves no byte behind in the data directory: neither in the index, nor in the log, nor in page gaps."""

import asyncio
import random
import re
import sqlite3
import time
from contextlib import closing

import pytest

from bot.errors import NotFound
from bot.jobs import ImageRef
from storage import erasure, open_storage, purge
from tests.erased_bytes import files_with
from tests.storage.conftest import SETTINGS
from tests.storage.factories import accept, claim, make_media, make_picture, make_result

MARK = re.compile(rb"zq(\d{5})x")


def secret_text(number, words):
    return " ".join(f"zq{number:05d}x" if word % 9 == 0 else f"fox{word * number % 971}" for word in range(words))


async def write_job(storage, person, number, words=40):
    """A finished job with a secret in its prompt, caption, alt text and upload's parameters; returns its media ids."""
    text = secret_text(number, words)
    photo = await storage.media.add_upload(
        person.id, make_media(f"photo {number}".encode()), width=8, height=8, parameters={"prompt": text}
    )
    [job] = await accept(
        storage, person, options={"prompt": text}, search_text=text, images=(ImageRef(photo.id),), wants_delivery=True
    )
    running = await claim(storage, only=frozenset({job.id}))
    made = await storage.media.write_file(make_media(f"picture {number}".encode()))
    result = make_result(media=(make_picture(made, alt=text),), text=text)
    await storage.jobs.save_result(job.id, running.attempt, result)
    return job, {photo.id, made}


async def write_person(storage, account_id, numbers):
    person = await storage.people.identify_account("discord", account_id, f"zq{numbers[0]:05d}x the Zebra")
    await storage.people.set_setting(person.id, "negative_prompt", secret_text(numbers[0], 20))
    await storage.inbox.save_event("discord", f"e{numbers[0]}", {"content": secret_text(numbers[0], 20)})
    written = [await write_job(storage, person, number) for number in numbers]
    await storage.inbox.mark_done("discord", f"e{numbers[0]}")
    return person, written


async def test_nothing_of_a_forgotten_person_is_left_in_any_file(storage, ben, data_dir):
    ann, written = await write_person(storage, "771177117711", range(1, 6))
    await write_job(storage, ben, 900)
    ids = "|".join(media_id for _, media in written for media_id in media)
    await storage.privacy.export_person(ann.id)
    before = files_with(data_dir, MARK)
    await storage.privacy.forget_person(ann.id)

    assert await storage.maintenance.purge()
    assert before
    assert list((data_dir / "exports").iterdir()) == []
    assert files_with(data_dir, rb"zq0000\dx|771177117711|" + ids.encode()) == []
    assert files_with(data_dir, rb"zq00900x")
    assert await storage.maintenance.check() == []


async def test_nothing_of_a_deleted_job_is_left_in_any_file(storage, ann, data_dir):
    [(first, media), (second, _)] = [await write_job(storage, ann, number) for number in (1, 2)]
    await storage.privacy.erase_job(first.id, ann.id)

    assert await storage.maintenance.purge()
    assert files_with(data_dir, b"zq00001x|" + "|".join(media).encode()) == []
    found, _ = await storage.history.list_jobs(ann.id, state=None, q="zq00002x", before=None, limit=5)
    assert [job.id for job in found] == [second.id]


def marks_in(path):
    return {int(found) for found in MARK.findall(path.read_bytes())}


async def grow_rows(storage, people, count):
    """Rows of several sizes, some of which grow and so move others: with these numbers SQLite leaves copies."""
    chosen, waiting = random.Random(1), []
    for number in range(1, count):
        person, text = people[number % 4], secret_text(number, chosen.randrange(5, 60))
        [job] = await accept(storage, person, options={"prompt": text}, search_text=text)
        await storage.people.set_setting(person.id, f"s{number}", secret_text(number, 5))
        waiting.append((number, job))
        if number % 5 == 0:
            grown, job = waiting.pop(chosen.randrange(len(waiting)))
            running = await claim(storage, only=frozenset({job.id}))
            await storage.jobs.save_result(job.id, running.attempt, make_result(text=secret_text(grown, 60)))


async def test_no_copy_stays_in_the_unused_space_of_pages(storage, data_dir):
    people = [await storage.people.identify_account("discord", str(number), "A") for number in range(4)]
    await grow_rows(storage, people, 60)
    for person in people[:2]:
        await storage.privacy.forget_person(person.id)
    kept, database = {number for number in range(1, 60) if number % 4 in (2, 3)}, data_dir / "easel.db"

    assert await storage.maintenance.purge()
    assert marks_in(database) == kept
    assert await storage.maintenance.check() == []
    await storage.people.set_setting(people[2].id, "s2", "written after the purge, from the writer's cache")
    assert await storage.maintenance.purge()
    assert marks_in(database) == kept


@pytest.mark.parametrize("what", ["retention", "setting"])
async def test_other_deletions_are_purged_too(storage, ann, data_dir, what):
    photo = await storage.media.add_upload(
        ann.id, make_media(), width=8, height=8, parameters={"prompt": secret_text(1, 9)}
    )
    await storage.people.set_setting(ann.id, "negative_prompt", secret_text(2, 9))
    if what == "retention":
        await storage.media.sweep(unused_s=-1, keep_days=0, max_gb=0)
        gone = b"zq00001x|" + photo.id.encode()
    else:
        await storage.people.clear_setting(ann.id, "negative_prompt")
        gone = b"zq00002x"

    assert await storage.maintenance.purge()
    assert files_with(data_dir, gone) == []


async def test_the_server_purges_by_itself(data_dir, monkeypatch):
    monkeypatch.setattr(purge, "CHECK_S", 0.02)
    monkeypatch.setattr(purge, "SETTLE_S", 0.01)
    async with open_storage(SETTINGS, data_dir) as storage:
        ann, _ = await write_person(storage, "1", [1])
        await storage.privacy.forget_person(ann.id)
        async with asyncio.timeout(20):
            while files_with(data_dir, MARK):  # noqa: ASYNC110 -- the files are what is waited for
                await asyncio.sleep(0.02)


async def test_the_files_of_a_result_that_came_too_late_are_deleted(storage, ann, ben, data_dir, monkeypatch):
    monkeypatch.setattr("storage.discarded.KEEP_S", 0.0)
    job, kept = [(await accept(storage, person))[0] for person in (ann, ben)]
    late, other = [await claim(storage, only=frozenset({one.id})) for one in (job, kept)]
    pictures = [make_picture(await storage.media.write_file(make_media(data))) for data in (b"late", b"both")]
    await storage.privacy.forget_person(ann.id)
    await storage.jobs.save_result(job.id, late.attempt, make_result(media=tuple(pictures)))
    await storage.jobs.save_result(kept.id, other.attempt, make_result(media=(pictures[1],)))
    await asyncio.sleep(0.01)
    await storage.maintenance._purge.purge(10.0)

    assert files_with(data_dir / "media", pictures[0].id.encode()) == []
    assert files_with(data_dir / "media", pictures[1].id.encode())


async def test_a_purge_that_a_crash_interrupted_is_repeated_by_the_next_start(data_dir, monkeypatch):
    async def never(self, limit_s):
        pass

    monkeypatch.setattr(purge.Purge, "purge", never)
    async with open_storage(SETTINGS, data_dir) as storage:
        ann, _ = await write_person(storage, "1", range(1, 8))
        await storage.privacy.forget_person(ann.id)
    left = files_with(data_dir, MARK)
    async with open_storage(SETTINGS, data_dir) as storage:
        assert await storage.maintenance.purge()

    assert left == ["easel.db"]
    assert files_with(data_dir, MARK) == []


async def test_a_single_command_purges_what_it_deleted_before_it_ends(data_dir):
    async with open_storage(SETTINGS, data_dir) as storage:
        ann, _ = await write_person(storage, "1", [1])
        await storage.privacy.forget_person(ann.id)

    assert files_with(data_dir, MARK) == []


async def test_a_reader_delays_the_end_of_a_purge_and_nobody_else(storage, ann, ben, data_dir):
    [(job, _)] = [await write_job(storage, ann, 1)]
    with closing(sqlite3.connect(data_dir / "easel.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM job").fetchone()
        await storage.privacy.erase_job(job.id, ann.id)
        is_done = await storage.maintenance.purge()
        started = time.perf_counter()
        await accept(storage, ben)
        took_s = time.perf_counter() - started

    assert not is_done
    assert took_s < 1.0
    assert await storage.maintenance.purge()
    assert files_with(data_dir, MARK) == []


async def test_requests_are_accepted_while_a_large_index_is_purged(storage, ann, ben, monkeypatch):
    """Counted in steps, not in seconds: no transaction and no step of the purge does all of the work."""
    for number in range(1, 60):
        text = secret_text(number, 400)
        await accept(storage, ann, options={"prompt": text}, search_text=text)
    monkeypatch.setattr("storage.privacy.ERASE_S", 0.0)
    assert await count_accepts_during(storage, ben, storage.privacy.forget_person(ann.id)) > 30
    monkeypatch.setattr("storage.sqlite_purge.MERGE_PAGES", 1)
    monkeypatch.setattr("storage.sqlite_purge.SCRUB_BYTES", 1 << 16)
    monkeypatch.setattr(purge, "PAUSE_S", 0)
    assert await count_accepts_during(storage, ben, storage.maintenance.purge()) > 10


async def count_accepts_during(storage, person, work):
    working = asyncio.create_task(work)
    accepted = 0
    while not working.done():
        await accept(storage, person)
        accepted += 1
    await working
    return accepted


@pytest.mark.parametrize("what", ["upload", "share", "setting", "key"])
async def test_a_request_that_began_before_its_person_was_forgotten_stores_nothing(
    storage, ann, ben, data_dir, monkeypatch, what
):
    monkeypatch.setattr("storage.discarded.KEEP_S", 0.0)
    shared = await storage.media.add_upload(ben.id, make_media(b"ben's"), width=8, height=8, parameters=None)
    await storage.privacy.forget_person(ann.id)
    request = {
        "upload": lambda: storage.media.add_upload(ann.id, make_media(b"late"), width=8, height=8, parameters=None),
        "share": lambda: storage.media.share(shared.id, ann.id),
        "setting": lambda: storage.people.set_setting(ann.id, "negative_prompt", secret_text(1, 9)),
        "key": lambda: storage.people.add_key("zq00001x", "00", ann, False),
    }[what]

    with pytest.raises(NotFound):
        await request()
    await asyncio.sleep(0.01)
    await storage.maintenance._purge.purge(10.0)
    assert files_with(data_dir, MARK) == []
    assert [path.stem for path in data_dir.glob("media/*/*/*.png")] == [shared.id]


async def test_an_interrupted_forgetting_is_finished_by_the_next_start(data_dir, monkeypatch):
    monkeypatch.setattr(purge, "CHECK_S", 0.02)
    monkeypatch.setattr(purge, "SETTLE_S", 0.0)
    async with open_storage(SETTINGS, data_dir) as storage:
        ann, _ = await write_person(storage, "771177117711", [1, 2])
        await storage.maintenance._database.run_write(lambda tx: erasure.begin_forgetting(tx, ann.id))
    left = files_with(data_dir, MARK)
    async with open_storage(SETTINGS, data_dir), asyncio.timeout(20):
        while files_with(data_dir, MARK):  # noqa: ASYNC110 -- the files are what is waited for
            await asyncio.sleep(0.02)

    assert left


async def test_who_writes_again_while_being_forgotten_keeps_the_new_job(storage, ann, monkeypatch):
    await accept(storage, ann, space="dm-1")
    rename, accepted = storage.privacy._rename_space, []

    async def write_again(person_id, space_id):
        again = await storage.people.identify_account("discord", "1", "Ann")
        accepted.extend(await accept(storage, again, space="dm-1"))
        await rename(person_id, space_id)

    monkeypatch.setattr(storage.privacy, "_rename_space", write_again)
    await storage.privacy.forget_person(ann.id)

    assert (await claim(storage)).id == accepted[0].id
    assert await storage.maintenance.check() == []
