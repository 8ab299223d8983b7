import asyncio
import errno
import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from bot.errors import MediaNotFound, StorageFull, UnsupportedMedia
from bot.jobs import ImageRef
from storage import StorageSettings, open_storage
from storage.media import CHUNK_BYTES
from tests.storage.conftest import SETTINGS
from tests.storage.factories import accept, claim, make_media, make_picture, render

DAY_S = 86_400.0
FOR_EVER: dict[str, Any] = {"unused_s": 1e9, "keep_days": 0, "max_gb": 0.0}


def files_in(data_dir):
    return sorted(path.name for path in (data_dir / "media").rglob("*") if path.is_file())


def grow_old(data_dir, age_s=7200.0):
    """Make all files look old."""
    then = time.time() - age_s
    for path in (data_dir / "media").rglob("*"):
        os.utime(path, (then, then))


async def upload(storage, person, data=b"a fox", parameters=None):
    return await storage.media.add_upload(person.id, make_media(data), width=8, height=6, parameters=parameters)


async def make_result_picture(storage, person, data):
    """The id of a generated image of the person, and its job."""
    media_id = await storage.media.write_file(make_media(data))
    await accept(storage, person)
    job = await render(storage, await claim(storage), media=(make_picture(media_id, size=len(data)),))
    return media_id, job


async def test_an_upload_is_read_back_as_it_was(storage, ann, data_dir):
    added = await upload(storage, ann, parameters={"prompt": "a fox"})

    assert await storage.media.read_media(added.id, ann.id) == make_media()
    assert await storage.media.get_image(added.id, ann.id) == added
    assert (added.width, added.height, added.size, added.parameters) == (8, 6, 5, {"prompt": "a fox"})
    assert (data_dir / "media" / added.id[:2] / added.id[2:4] / f"{added.id}.png").read_bytes() == b"a fox"


async def test_what_images_said_about_themselves_is_listed_for_their_owner_only(storage, ann, ben):
    for number in range(3):
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=number)):
            await upload(storage, ann, str(number).encode(), {"number": number} if number != 1 else None)
    await upload(storage, ben, parameters={"number": 9})

    now = datetime.now(UTC)
    assert await storage.media.list_parameters(ann.id, now - timedelta(hours=1)) == [{"number": 2}, {"number": 0}]
    assert await storage.media.list_parameters(ann.id, now + timedelta(minutes=1)) == [{"number": 2}]


@pytest.mark.parametrize(
    ("media_type", "ending"), [("image/png", "png"), ("image/jpeg", "jpg"), ("image/webp", "webp")]
)
async def test_a_file_is_named_for_its_type(storage, ann, data_dir, media_type, ending):
    await storage.media.write_file(make_media(b"x", media_type))

    assert files_in(data_dir)[0].endswith(f".{ending}")


async def test_other_types_are_refused(storage):
    with pytest.raises(UnsupportedMedia):
        await storage.media.write_file(make_media(b"<svg/>", "image/svg+xml"))


async def test_the_same_bytes_are_one_file_of_two_owners(storage, ann, ben, data_dir):
    mine, theirs = await asyncio.gather(upload(storage, ann), upload(storage, ben))

    assert mine.id == theirs.id
    assert len(files_in(data_dir)) == 1
    assert await storage.media.read_media(mine.id, ben.id) == make_media()


async def test_concurrent_equal_uploads_leave_one_complete_file(storage, ann, data_dir):
    pictures = await asyncio.gather(*(upload(storage, ann, b"x" * 100_000) for _ in range(20)))

    assert len({picture.id for picture in pictures}) == len(files_in(data_dir)) == 1
    assert (await storage.media.read_media(pictures[0].id, ann.id)).data == b"x" * 100_000


@pytest.mark.parametrize("media_id", ["", "..", "../../easel.db", "A" * 64, "a" * 63, "a" * 64 + "\n", "a/" * 32, "\0"])
async def test_an_id_that_is_none_never_becomes_a_path(storage, ann, media_id):
    with pytest.raises(MediaNotFound):
        await storage.media.read_media(media_id, ann.id)
    with pytest.raises(MediaNotFound):
        await storage.media.read_media(media_id, None)
    with pytest.raises(MediaNotFound):
        await storage.media.get_image(media_id, ann.id)


async def test_a_picture_whose_file_is_lost_is_not_found(storage, ann, data_dir):
    added = await upload(storage, ann)
    next((data_dir / "media").rglob("*.png")).unlink()

    with pytest.raises(MediaNotFound):
        await storage.media.read_media(added.id, ann.id)
    with pytest.raises(MediaNotFound):
        await storage.media.stream_media(added.id, ann.id)


async def test_a_file_is_read_in_chunks_while_it_is_sent(storage, ann, ben):
    data = b"x" * (CHUNK_BYTES + 1)
    added = await upload(storage, ann, data)

    stream = await storage.media.stream_media(added.id, ann.id)
    sizes = [len(chunk) async for chunk in stream.chunks]

    assert (stream.media_type, stream.size, sizes) == ("image/png", len(data), [CHUNK_BYTES, 1])
    with pytest.raises(MediaNotFound):
        await storage.media.stream_media(added.id, ben.id)


async def test_a_damaged_file_is_rewritten(storage, ann, data_dir):
    added = await upload(storage, ann)
    next((data_dir / "media").rglob("*.png")).write_bytes(b"a")
    await upload(storage, ann)

    assert (await storage.media.read_media(added.id, ann.id)).data == b"a fox"


async def test_a_full_disk_is_named_and_leaves_no_half_file(storage, ann, data_dir, monkeypatch):
    def refuse(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageFull):
        await upload(storage, ann)
    monkeypatch.undo()

    assert files_in(data_dir) == []
    assert (await upload(storage, ann)).size == 5


async def test_uploads_are_refused_when_the_disk_is_nearly_full_but_results_are_kept(data_dir):
    async with open_storage(StorageSettings(min_free_mb=1 << 40), data_dir) as storage:
        ann = await storage.people.identify_account("discord", "1", "Ann")
        with pytest.raises(StorageFull):
            await upload(storage, ann)
        with pytest.raises(StorageFull):
            await storage.media.upload_usage(ann.id, datetime.now(UTC))
        await storage.media.write_file(make_media())

    assert len(files_in(data_dir)) == 1


async def test_an_owners_uploads_of_a_period_are_added_up(storage, ann, ben):
    since = datetime.now(UTC) - timedelta(hours=24)
    with time_machine.travel(since - timedelta(seconds=1), tick=False):
        await upload(storage, ann, b"too old")
    await upload(storage, ben, b"another's")
    with time_machine.travel(since + timedelta(hours=1), tick=False):
        await upload(storage, ann, b"1234")
    await upload(storage, ann, b"123456")
    await make_result_picture(storage, ann, b"a result")

    usage = await storage.media.upload_usage(ann.id, since)

    assert usage.used == 10
    assert usage.oldest_at == since + timedelta(hours=1)
    assert usage.spare > 0
    assert (await storage.media.upload_usage(ben.id, since + timedelta(days=2))).oldest_at is None


async def test_a_shared_picture_counts_for_its_first_owner_only(storage, ann, ben):
    since = datetime.now(UTC) - timedelta(hours=24)
    photo = await upload(storage, ann, b"1234")
    await storage.media.share(photo.id, ben.id)
    await upload(storage, ben, b"1234")

    assert (await storage.media.upload_usage(ann.id, since)).used == 4
    assert (await storage.media.upload_usage(ben.id, since)).used == 0


async def test_an_unused_upload_is_forgotten_after_its_time(storage, ann, data_dir):
    added = await upload(storage, ann)
    early = await storage.media.sweep(unused_s=DAY_S, keep_days=0, max_gb=0.0)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=1, seconds=1)):
        late = await storage.media.sweep(unused_s=DAY_S, keep_days=0, max_gb=0.0)

    assert (early.files, late.files) == (0, 1)
    assert files_in(data_dir) == []
    with pytest.raises(MediaNotFound):
        await storage.media.get_image(added.id, ann.id)


async def test_an_upload_that_a_job_uses_is_kept_for_its_owner_only(storage, ann, ben, data_dir):
    added = await upload(storage, ann)
    await upload(storage, ben)
    await accept(storage, ann, images=(ImageRef(added.id),))
    swept = await storage.media.sweep(unused_s=0.0, keep_days=0, max_gb=0.0)

    assert swept.files == 0
    assert await storage.media.read_media(added.id, ann.id) == make_media()
    with pytest.raises(MediaNotFound):
        await storage.media.read_media(added.id, ben.id)


async def test_uploading_again_renews_the_age(storage, ann):
    added = await upload(storage, ann)
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=20)):
        await upload(storage, ann)
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=30)):
        await storage.media.sweep(unused_s=DAY_S, keep_days=0, max_gb=0.0)

    assert await storage.media.read_media(added.id, ann.id) == make_media()


async def test_old_results_go_and_their_jobs_stay(storage, ann, data_dir):
    media_id, job = await make_result_picture(storage, ann, b"old")
    with time_machine.travel(datetime.now(UTC) + timedelta(days=31)):
        swept = await storage.media.sweep(unused_s=1e9, keep_days=30, max_gb=0.0)
    kept = await storage.jobs.get_job(job.id, ann.id)

    assert swept.files == 1
    assert files_in(data_dir) == []
    assert (kept.state, kept.result.media, kept.result.text) == (job.state, (), "a rocket")
    assert kept.version == job.version + 1
    with pytest.raises(MediaNotFound):
        await storage.media.read_media(media_id, ann.id)
    assert await storage.maintenance.check() == []


async def test_pictures_of_waiting_jobs_outlive_every_limit(storage, ann):
    added = await upload(storage, ann)
    await accept(storage, ann, images=(ImageRef(added.id),))
    with time_machine.travel(datetime.now(UTC) + timedelta(days=99)):
        await storage.media.sweep(unused_s=0.0, keep_days=1, max_gb=1e-12)

    assert await storage.media.read_media(added.id, ann.id) == make_media()


async def test_beyond_the_size_limit_the_oldest_go(storage, ann):
    ids = [(await make_result_picture(storage, ann, bytes([number]) * 1024))[0] for number in range(5)]
    swept = await storage.media.sweep(unused_s=1e9, keep_days=0, max_gb=3 * 1024 / 2**30)

    assert (swept.files, swept.megabytes) == (2, 2 / 1024)
    for gone in ids[:2]:
        with pytest.raises(MediaNotFound):
            await storage.media.read_media(gone, ann.id)
    for kept in ids[2:]:
        assert len((await storage.media.read_media(kept, ann.id)).data) == 1024


async def test_files_without_rows_are_spared_for_an_hour(storage, data_dir):
    await storage.media.write_file(make_media(b"a result not yet recorded"))
    early = await storage.media.sweep(**FOR_EVER)
    grow_old(data_dir)
    late = await storage.media.sweep(**FOR_EVER)

    assert (early.files, late.files) == (0, 1)
    assert files_in(data_dir) == []


async def test_files_without_rows_of_an_ended_process_are_deleted_by_the_first_sweep(storage, ann, data_dir):
    await upload(storage, ann, b"owned")
    await storage.media.write_file(make_media(b"a process was killed before it deleted this"))
    async with open_storage(SETTINGS, data_dir) as after_restart:
        await after_restart.media.write_file(make_media(b"a result not yet recorded"))
        swept = await after_restart.media.sweep(**FOR_EVER)

    assert swept.files == 1
    assert len(files_in(data_dir)) == 2


async def test_half_written_files_are_removed(storage, data_dir):
    folder = data_dir / "media" / "ab" / "cd"
    folder.mkdir(parents=True)
    (folder / "tmp123.partial").write_bytes(b"half")
    grow_old(data_dir)
    swept = await storage.media.sweep(**FOR_EVER)

    assert swept.files == 1
    assert files_in(data_dir) == []


async def test_old_files_with_owners_stay(storage, ann, data_dir):
    added = await upload(storage, ann)
    grow_old(data_dir)
    await storage.media.sweep(**FOR_EVER)

    assert await storage.media.read_media(added.id, ann.id) == make_media()


async def test_concurrent_uploads_and_sweeps_never_lose_a_file_with_an_owner(storage, ann, data_dir):
    async def sweep_often():
        for _ in range(15):
            await storage.media.sweep(unused_s=0.0, keep_days=0, max_gb=0.0)

    async def upload_often():
        for _ in range(15):
            picture = await upload(storage, ann)
            try:
                await storage.media.get_image(picture.id, ann.id)
            except MediaNotFound:
                continue

    await asyncio.gather(sweep_often(), upload_often(), upload_often())
    last = await upload(storage, ann)

    assert await storage.media.read_media(last.id, ann.id) == make_media()


async def test_more_pictures_than_a_chunk_are_forgotten_in_one_sweep(storage, ann, data_dir, monkeypatch):
    monkeypatch.setattr("storage.media_retention.CHUNK", 3)
    for number in range(10):
        await upload(storage, ann, b"%d" % number)
    swept = await storage.media.sweep(unused_s=0.0, keep_days=0, max_gb=0.0)

    assert swept.files == 10
    assert files_in(data_dir) == []
