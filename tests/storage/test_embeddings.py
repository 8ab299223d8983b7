"""Embeddings of pictures: what has none, the nearest to a text, and that they go with the pictures."""

import sqlite3
from contextlib import closing
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import update

from bot.jobs import ImageRef
from bot.ports import Embedding, EmbeddingSpace
from storage.embeddings import SqlEmbeddings
from storage.merge import merge_persons
from storage.schema import media_owner, utcnow
from tests.storage.factories import accept, claim, make_media, make_picture, render

SPACE = EmbeddingSpace(model="match", revision="r1")
WIDTH = 8


def make_embedding(*vectors, model="match", revision="r1"):
    """`vectors`: directions, as the index of the axis."""
    rows = np.eye(WIDTH, dtype="<f2")[list(vectors)]
    return Embedding(model=model, revision=revision, count=len(vectors), width=WIDTH, vectors=rows.tobytes())


NONE = Embedding(model="match", revision="r1", count=0, width=0, vectors=b"")


async def make_job(storage, owner, *pictures, photo=None, **options):
    """A job of the owner that made pictures of these bytes."""
    images: tuple[ImageRef, ...] = ()
    if photo is not None:
        media = await storage.media.add_upload(owner.id, make_media(photo), width=8, height=8, parameters=None)
        images = (ImageRef(media.id, role=options.pop("role", "init")),)
    await accept(storage, owner, images=images, **options)
    ids = [await storage.media.write_file(make_media(one)) for one in pictures]
    return await render(storage, await claim(storage), media=tuple(map(make_picture, ids)))


def picture(job, number=1):
    return job.result.media[number - 1].id


async def find(storage, owner, axis, *, space=SPACE, limit=500, among=None):
    text = make_embedding(axis, model=space.model, revision=space.revision)
    near = await storage.embeddings.find_nearest(owner.id, space, text, limit=limit, among=among)
    return [(one.job, round(one.similarity, 2)) for one in near if one.similarity > 0]


async def unembedded(storage, space=SPACE, limit=100):
    found, before = [], None
    while True:
        ids, before = await storage.embeddings.list_unembedded(space, before=before, limit=limit)
        found += ids
        if before is None:
            return found


def count_rows(data_dir):
    with closing(sqlite3.connect(data_dir / "easel.db")) as database:
        return database.execute("SELECT count(*) FROM embedding").fetchone()[0]


@pytest.fixture
async def fox(storage, ann):
    """A job with an embedded picture along axis 1."""
    job = await make_job(storage, ann, b"a fox")
    assert await storage.embeddings.save_embedding(picture(job), make_embedding(1, 2))
    return job


@pytest.mark.parametrize("limit", [1, 100])
async def test_pictures_without_an_embedding_are_listed_newest_first(storage, ann, ben, fox, limit):
    second = await make_job(storage, ben, b"a cat", b"a dog", photo=b"a photo")
    third = await make_job(storage, ann, b"a hat", photo=b"a mask", role="mask")

    photo = second.images[0].id
    assert await unembedded(storage, limit=limit) == [picture(third), picture(second), picture(second, 2), photo]


async def test_a_picture_that_cannot_be_embedded_is_not_listed_again_and_never_found(storage, ann, fox):
    job = await make_job(storage, ann, b"broken")
    await storage.embeddings.save_embedding(picture(job), NONE)

    assert await unembedded(storage) == []
    assert await find(storage, ann, 1) == [(fox.id, 1)]
    assert await storage.embeddings.get_embedding(SPACE, picture(job)) is None


async def test_a_demos_space_has_only_pictures_that_demos_made(storage, ann):
    demo = EmbeddingSpace(model="match", revision="r1", makers=frozenset({"fox"}))
    made = await make_job(storage, ann, b"drawn", photo=b"a photo")
    for one in (picture(made), made.images[0].id):
        await storage.embeddings.save_embedding(one, make_embedding(1))

    for makers, expected in (({"fox"}, [picture(made)]), ({"other"}, [])):
        assert await unembedded(storage, EmbeddingSpace(model="x", revision="r", makers=frozenset(makers))) == expected
    assert await find(storage, ann, 1, space=demo) == [(made.id, 1)]


async def test_the_best_of_a_pictures_vectors_counts_and_the_best_picture_comes_first(storage, ann):
    jobs = [await make_job(storage, ann, f"{n}".encode()) for n in range(3)]
    for job, axes in zip(jobs, [(3, 4), (3, 3), (5, 6)], strict=True):
        await storage.embeddings.save_embedding(picture(job), make_embedding(*axes))

    assert await find(storage, ann, 4) == [(jobs[0].id, 1)]
    assert [job for job, _ in await find(storage, ann, 3, limit=1)] == [jobs[1].id]
    assert {job for job, _ in await find(storage, ann, 3)} == {jobs[0].id, jobs[1].id}
    assert await find(storage, ann, 3, among=[jobs[0].id, jobs[2].id]) == [(jobs[0].id, 1)]
    assert await find(storage, ann, 3, among=[]) == []


async def test_nobody_finds_the_pictures_of_others_even_if_the_file_is_the_same(storage, ann, ben, fox):
    own = await make_job(storage, ben, b"a fox")

    assert await find(storage, ann, 1) == [(fox.id, 1)]
    assert await find(storage, ben, 1) == [(own.id, 1)]


async def test_without_pictures_nothing_is_found(storage, ben):
    assert await find(storage, ben, 1) == []


async def test_a_search_sees_what_was_made_embedded_or_deleted_since_the_last(storage, ann, fox):
    assert await find(storage, ann, 1) == [(fox.id, 1)]

    second = await make_job(storage, ann, b"a second", b"a third")
    assert await find(storage, ann, 1) == [(fox.id, 1)]
    for number in (1, 2):
        await storage.embeddings.save_embedding(picture(second, number), make_embedding(number))
    assert {job for job, _ in await find(storage, ann, 1)} == {fox.id, second.id}

    await storage.privacy.erase_picture(second.id, ann.id, 1)
    await storage.privacy.erase_job(fox.id, ann.id)

    assert await find(storage, ann, 1) == []
    assert await find(storage, ann, 2) == [(second.id, 1)]


async def test_a_picture_that_is_embedded_already_is_found_by_who_gets_it_later(storage, ann, ben, fox):
    assert await find(storage, ben, 1) == []
    await storage.media.share(picture(fox), ben.id)
    await accept(storage, ben, images=(ImageRef(picture(fox)),))

    assert len(await find(storage, ben, 1)) == 1


async def test_a_picture_that_a_job_has_lost_is_not_found_though_somebody_else_has_it(storage, ann, ben, fox):
    await storage.media.share(picture(fox), ben.id)
    await accept(storage, ben, images=(ImageRef(picture(fox)),))
    job = await render(storage, await claim(storage))
    assert await find(storage, ben, 1) == [(job.id, 1)]

    old = update(media_owner).where(media_owner.c.owner == ben.id).values(kept_since=utcnow() - timedelta(days=9))
    await storage.embeddings._database.run_write(lambda tx: tx.execute(old).rowcount)
    await storage.media.sweep(unused_s=1e9, keep_days=5, max_gb=0)

    assert await find(storage, ben, 1) == []
    assert await find(storage, ann, 1) == [(fox.id, 1)]


async def test_vectors_of_another_revision_are_not_compared_and_are_replaced(storage, ann, fox, data_dir):
    newer = EmbeddingSpace(model="match", revision="r2")

    assert await find(storage, ann, 1, space=newer) == []
    assert await unembedded(storage, newer) == [picture(fox)]
    await storage.embeddings.save_embedding(picture(fox), make_embedding(5, revision="r2"))
    assert await find(storage, ann, 5, space=newer) == [(fox.id, 1)]
    assert await find(storage, ann, 1) == []
    assert count_rows(data_dir) == 1


async def test_the_rows_of_models_that_were_removed_go(storage, ann, fox, data_dir):
    await storage.embeddings.save_embedding(picture(fox), make_embedding(1, model="other"))

    assert await storage.embeddings.keep_models(["match"]) == 1
    assert await storage.embeddings.keep_models(["match"]) == 0
    assert count_rows(data_dir) == 1
    assert await find(storage, ann, 1) == [(fox.id, 1)]


@pytest.mark.parametrize("how", ["erase", "forget", "days", "max_gb", "disown"])
async def test_an_embedding_goes_with_its_picture(storage, ann, data_dir, fox, how):
    match how:
        case "erase":
            await storage.privacy.erase_job(fox.id, ann.id)
        case "forget":
            await storage.privacy.forget_person(ann.id)
        case "days":
            await storage.media.sweep(unused_s=1e9, keep_days=1e-9, max_gb=0)
        case "max_gb":
            await storage.media.sweep(unused_s=1e9, keep_days=0, max_gb=1e-9)
        case "disown":
            upload = await storage.media.add_upload(ann.id, make_media(b"x"), width=8, height=8, parameters=None)
            await storage.embeddings.save_embedding(upload.id, make_embedding(3))
            await storage.privacy.erase_job(fox.id, ann.id)
            await storage.media.sweep(unused_s=0, keep_days=0, max_gb=0)

    assert count_rows(data_dir) == 0
    assert await find(storage, ann, 1) == []
    assert await storage.maintenance.check() == []


async def test_a_picture_that_was_deleted_meanwhile_gets_no_row(storage, ann, fox, data_dir):
    await storage.privacy.erase_job(fox.id, ann.id)

    assert not await storage.embeddings.save_embedding(picture(fox), make_embedding(1))
    assert count_rows(data_dir) == 0


async def test_the_bytes_of_vectors_count_towards_retention_max_gb(storage, ann, data_dir, fox):
    jobs = [await make_job(storage, ann, f"{n}".encode()) for n in range(2)]
    for job in jobs:
        await storage.embeddings.save_embedding(picture(job), make_embedding(*[1] * 7))
    # 3 files of 5 bytes; vectors and means of 2 * 8 * (3 + 8 + 8) = 304 bytes
    await storage.media.sweep(unused_s=1e9, keep_days=0, max_gb=319 / 2**30)
    assert count_rows(data_dir) == 3
    await storage.media.sweep(unused_s=1e9, keep_days=0, max_gb=318 / 2**30)
    assert count_rows(data_dir) == 2


async def test_few_bytes_of_vectors_stay_in_memory_and_searches_still_find(storage, ann, ben, fox):
    own = await make_job(storage, ben, b"his own")
    small = SqlEmbeddings(storage.embeddings._database, max_cached_mb=0)
    await small.save_embedding(picture(own), make_embedding(1))

    for _ in range(2):
        for person, job in ((ann, fox), (ben, own)):
            near = await small.find_nearest(person.id, SPACE, make_embedding(1), limit=5)
            assert [one.job for one in near] == [job.id]
    assert len(small._cached) == 1


async def test_what_is_in_memory_of_a_person_can_be_dropped(storage, ann, ben, fox):
    await find(storage, ann, 1)
    await find(storage, ben, 1)
    storage.embeddings.drop_cached({ann.id})

    assert [owner for owner, _ in storage.embeddings._cached] == [ben.id]
    assert await find(storage, ann, 1) == [(fox.id, 1)]


async def test_many_saved_embeddings_are_read_anew(storage, ann, fox, monkeypatch):
    monkeypatch.setattr("storage.embeddings.MAX_REMEMBERED", 1)
    assert await find(storage, ann, 1) == [(fox.id, 1)]
    for n in range(4):
        job = await make_job(storage, ann, f"{n}".encode())
        await storage.embeddings.save_embedding(picture(job), make_embedding(1))

    assert len(await find(storage, ann, 1)) == 5
    assert len(storage.embeddings._saved.ids) <= 2


async def test_linked_persons_find_the_pictures_of_both(storage, ann, ben, fox):
    own = await make_job(storage, ben, b"his own")
    await storage.embeddings.save_embedding(picture(own), make_embedding(1))
    assert await find(storage, ann, 1) == [(fox.id, 1)]
    database = storage.embeddings._database
    await database.run_write(lambda tx: merge_persons(tx, database.dialect, kept=ann.id, emptied=ben.id))

    assert {job for job, _ in await find(storage, ann, 1)} == {fox.id, own.id}
    assert await find(storage, ben, 1) == []
