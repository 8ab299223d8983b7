"""Thumbnails count for retention, and go with their image however it goes."""

import os
import time
import zipfile
from functools import partial

import pytest
from sqlalchemy import select

from bot.errors import MediaNotFound, StorageFull
from bot.jobs import Media
from storage.schema import media
from tests.storage.factories import accept, claim, make_media, make_picture, render

FOR_EVER = {"unused_s": 1e9, "keep_days": 0, "max_gb": 0.0}
SMALL = Media(b"small", "image/webp")


def files_in(data_dir):
    return sorted(path.name for path in (data_dir / "media").rglob("*") if path.is_file())


def grow_old(data_dir):
    then = time.time() - 7200
    for path in (data_dir / "media").rglob("*"):
        os.utime(path, (then, then))


async def upload(storage, person, data=b"a fox"):
    return await storage.media.add_upload(person.id, make_media(data), width=8, height=6, parameters=None)


async def make_result(storage, person, data=b"a fox"):
    media_id = await storage.media.write_file(make_media(data))
    await accept(storage, person)
    job = await render(storage, await claim(storage), media=(make_picture(media_id, size=len(data)),))
    return media_id, job


async def add_thumbnails(storage, media_id):
    for width in (256, 512):
        await storage.media.save_thumbnail(media_id, width, SMALL)


async def size_of(storage, media_id):
    return await storage.media._database.run_read(
        lambda tx: tx.scalar(select(media.c.size).where(media.c.id == media_id))
    )


async def test_it_is_read_by_owners_only(storage, ann, ben):
    image = await upload(storage, ann)
    before = await storage.media.stream_thumbnail(image.id, ann.id, 256)
    await add_thumbnails(storage, image.id)
    stream = await storage.media.stream_thumbnail(image.id, ann.id, 256)

    assert before is None
    assert (stream.media_type, stream.size) == ("image/webp", 5)
    assert [chunk async for chunk in stream.chunks] == [b"small"]
    with pytest.raises(MediaNotFound):
        await storage.media.stream_thumbnail(image.id, ben.id, 256)


@pytest.mark.parametrize("media_id", ["../../../etc/passwd", "", "0" * 63, "0" * 64])
async def test_no_thumbnail_of_what_is_no_image(storage, ann, data_dir, media_id):
    for call in (
        partial(storage.media.stream_thumbnail, media_id, ann.id, 256),
        partial(storage.media.save_thumbnail, media_id, 256, SMALL),
    ):
        with pytest.raises(MediaNotFound):
            await call()
    assert files_in(data_dir) == []


async def test_all_forms_count_once_however_often_they_are_made(storage, ann):
    image = await upload(storage, ann)
    for _ in range(2):
        await add_thumbnails(storage, image.id)

    assert await size_of(storage, image.id) == len(b"a fox") + 2 * len(b"small")


async def erase_job(storage, person, job):
    await storage.privacy.erase_job(job.id, person.id)


async def erase_picture(storage, person, job):
    await storage.privacy.erase_picture(job.id, person.id, 1)


async def forget_person(storage, person, job):
    await storage.privacy.forget_person(person.id)


async def sweep_beyond(storage, person, job):
    await storage.media.sweep(**FOR_EVER | {"max_gb": 10 / 2**30})


@pytest.mark.parametrize("delete", [erase_job, erase_picture, forget_person, sweep_beyond])
async def test_they_go_with_their_image(storage, ann, data_dir, delete):
    media_id, job = await make_result(storage, ann)
    grow_old(data_dir)
    await add_thumbnails(storage, media_id)  # written after the deletion began, as it were

    await delete(storage, ann, job)

    assert files_in(data_dir) == []
    assert await storage.maintenance.check() == []


async def test_without_thumbnails_the_same_limit_keeps_the_image(storage, ann, data_dir):
    await make_result(storage, ann)
    grow_old(data_dir)

    await storage.media.sweep(**FOR_EVER | {"max_gb": 10 / 2**30})

    assert len(files_in(data_dir)) == 1


async def test_the_sweep_counts_what_it_frees(storage, ann, data_dir):
    image = await upload(storage, ann)
    await add_thumbnails(storage, image.id)
    grow_old(data_dir)

    result = await storage.media.sweep(unused_s=0, keep_days=0, max_gb=0)

    assert (result.files, round(result.megabytes * 2**20)) == (1, 15)
    assert files_in(data_dir) == []


async def test_they_stay_with_the_other_owner(storage, ann, ben, data_dir):
    image = await upload(storage, ann)
    await upload(storage, ben)
    await add_thumbnails(storage, image.id)
    grow_old(data_dir)

    await storage.privacy.forget_person(ann.id)

    stream = await storage.media.stream_thumbnail(image.id, ben.id, 256)
    assert [chunk async for chunk in stream.chunks] == [b"small"]
    assert len(files_in(data_dir)) == 3


async def test_the_sweep_leaves_those_of_images_and_deletes_those_without(storage, ann, data_dir):
    image = await upload(storage, ann)
    await add_thumbnails(storage, image.id)
    orphan = data_dir / "media" / "00" / "00" / f"{'0' * 64}.w256.webp"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"small")
    grow_old(data_dir)
    storage.media._sweep.__dict__["opened_at"] = time.time()

    await storage.media.sweep(**FOR_EVER)

    assert not orphan.exists()
    assert len(files_in(data_dir)) == 3


async def test_an_image_that_is_erased_meanwhile_leaves_no_thumbnail(storage, ann, data_dir, monkeypatch):
    media_id, job = await make_result(storage, ann)
    grow_old(data_dir)
    files = storage.media._files
    write = files.write_thumbnail

    def write_after_erasure(*arguments):
        size = write(*arguments)
        for path in (data_dir / "media").rglob("*.png"):
            path.unlink()
        return size

    found = await storage.media._find(media_id, None)
    await storage.privacy.erase_job(job.id, ann.id)

    async def find(*_):
        return found

    monkeypatch.setattr(storage.media, "_find", find)
    for variant in (write, write_after_erasure):
        monkeypatch.setattr(files, "write_thumbnail", variant)
        with pytest.raises(MediaNotFound):
            await storage.media.save_thumbnail(media_id, 256, SMALL)
        assert files_in(data_dir) == []


async def test_a_full_disk_keeps_none(storage, ann, data_dir, monkeypatch):
    image = await upload(storage, ann)
    monkeypatch.setattr(storage.media._disk, "_min_free_mb", 10**9)

    with pytest.raises(StorageFull):
        await storage.media.save_thumbnail(image.id, 256, SMALL)

    assert len(files_in(data_dir)) == 1
    assert await size_of(storage, image.id) == 5


async def test_a_backup_and_an_export_have_the_images_alone(storage, ann, data_dir):
    image = await upload(storage, ann)
    await add_thumbnails(storage, image.id)
    export = await storage.privacy.export_person(ann.id)

    with zipfile.ZipFile(export) as archive:
        assert [name for name in archive.namelist() if name.startswith("pictures/")] == [f"pictures/{image.id}.png"]
