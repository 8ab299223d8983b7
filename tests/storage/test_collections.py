"""Collections in the database: names, pictures of one's own jobs, what deletion leaves; what retention keeps."""

import pytest
from sqlalchemy import update

from bot.errors import ImageGone, InvalidOption, JobNotFound, NotFound
from bot.ports import HistoryFilter, PictureMarks, picture_collections
from storage import picture_collections as stored
from storage.columns import utcnow
from storage.schema import media_owner
from tests.storage.factories import accept, claim, make_media, make_picture, render


async def make_grid(storage, person, pictures=2):
    """A delivered job with pictures."""
    [job] = await accept(storage, person)
    running = await claim(storage, only=frozenset({job.id}))
    made = [await storage.media.write_file(make_media(b"%s %d" % (job.id.encode(), n))) for n in range(pictures)]
    await render(storage, running, media=tuple(map(make_picture, made)))
    return await storage.jobs.get_job(job.id, person.id)


async def found(storage, person, **only):
    chosen = HistoryFilter(**only)
    jobs, _ = await storage.history.list_jobs(person.id, state=None, q="", only=chosen, before=None, limit=20)
    assert await storage.history.count_jobs(person.id, state=None, q="", only=chosen) == len(jobs)
    return [job.id for job in jobs]


async def test_a_collection_counts_its_pictures_and_shows_the_last(storage, ann):
    first, second = await make_grid(storage, ann), await make_grid(storage, ann)
    best = await storage.collections.create(ann.id, "Best")
    for job, number in ((first, 1), (first, 1), (second, 2)):
        await storage.collections.add_picture(ann.id, best.id, job.id, number)
    [full] = await storage.collections.list_all(ann.id)
    listed = await found(storage, ann, collection=best.id)
    marks = await storage.changes.list_marks(ann.id, [first.id, second.id])
    await storage.collections.remove_picture(ann.id, best.id, second.id, 2)
    await storage.collections.remove_picture(ann.id, best.id, second.id, 2)
    await storage.privacy.erase_picture(first.id, ann.id, 1)
    [empty] = await storage.collections.list_all(ann.id)

    assert (full.name, full.count, full.cover) == ("Best", 2, second.result.media[1].id)
    assert listed == [second.id, first.id]
    assert marks[first.id] == PictureMarks(frozenset(), {1: (best.id,)})
    assert (empty.count, empty.cover) == (0, None)


async def test_names_are_one_persons_in_upper_and_lower_case(storage, ann, ben):
    best = await storage.collections.create(ann.id, "Straße")
    other = await storage.collections.create(ann.id, "other")
    await storage.collections.create(ben.id, "STRASSE")
    for name in ("STRASSE", "straße"):
        with pytest.raises(InvalidOption):
            await storage.collections.create(ann.id, name)
        with pytest.raises(InvalidOption):
            await storage.collections.rename(ann.id, other.id, name)
    renamed = await storage.collections.rename(ann.id, best.id, "strasse")

    assert (renamed.id, renamed.name) == (best.id, "strasse")
    assert [one.name for one in await storage.collections.list_all(ann.id)] == ["other", "strasse"]


async def test_there_are_at_most_so_many(storage, ann, monkeypatch):
    monkeypatch.setattr(stored, "MAX_COLLECTIONS", 2)
    for name in ("a", "b"):
        await storage.collections.create(ann.id, name)
    with pytest.raises(InvalidOption):
        await storage.collections.create(ann.id, "c")

    assert picture_collections.MAX_COLLECTIONS == 500


async def test_nothing_of_others_is_found_or_changed(storage, ann, ben):
    own, theirs = await make_grid(storage, ann), await make_grid(storage, ben)
    best = await storage.collections.create(ann.id, "Best")
    await storage.collections.add_picture(ann.id, best.id, own.id, 1)
    collections = storage.collections
    for refused in (
        collections.rename(ben.id, best.id, "mine"),
        collections.delete(ben.id, best.id),
        collections.add_picture(ben.id, best.id, theirs.id, 1),
        collections.remove_picture(ben.id, best.id, own.id, 1),
        collections.add_picture(ann.id, best.id, theirs.id, 1),
        collections.add_picture(ann.id, best.id, own.id, 3),
        collections.add_picture(ann.id, best.id, own.id, 0),
    ):
        with pytest.raises((NotFound, JobNotFound)):
            await refused

    assert await found(storage, ben, collection=best.id) == []
    assert await storage.changes.list_marks(ben.id, [own.id]) == {}
    assert [one.count for one in await collections.list_all(ann.id)] == [1]


async def test_deleted_pictures_and_erased_jobs_are_not_collected(storage, ann):
    grid, gone = await make_grid(storage, ann), await make_grid(storage, ann)
    best = await storage.collections.create(ann.id, "Best")
    await storage.collections.add_picture(ann.id, best.id, gone.id, 1)
    await storage.privacy.erase_picture(grid.id, ann.id, 1)
    await storage.privacy.erase_job(gone.id, ann.id)
    with pytest.raises(ImageGone):
        await storage.collections.add_picture(ann.id, best.id, grid.id, 1)
    with pytest.raises(JobNotFound):
        await storage.collections.add_picture(ann.id, best.id, gone.id, 1)

    assert [one.count for one in await storage.collections.list_all(ann.id)] == [0]


async def test_the_pictures_of_a_deleted_collection_stay(storage, ann):
    grid = await make_grid(storage, ann)
    best = await storage.collections.create(ann.id, "Best")
    await storage.collections.add_picture(ann.id, best.id, grid.id, 1)
    await storage.collections.delete(ann.id, best.id)
    with pytest.raises(NotFound):
        await storage.collections.delete(ann.id, best.id)

    assert await storage.collections.list_all(ann.id) == []
    assert await storage.jobs.get_job(grid.id, ann.id) == grid
    assert await storage.maintenance.check() == []


@pytest.mark.parametrize("limit", ["days", "gb"])
async def test_marked_pictures_outlive_their_days_but_not_the_disks_limit(storage, ann, limit):
    grid = await make_grid(storage, ann, pictures=3)
    best = await storage.collections.create(ann.id, "Best")
    await storage.collections.add_picture(ann.id, best.id, grid.id, 2)
    await storage.pictures.set_favourite(ann.id, grid.id, 3, is_favourite=True)
    old = update(media_owner).values(kept_since=utcnow().replace(year=2020))
    await storage.jobs._database.run_write(lambda tx: tx.execute(old).rowcount)
    rules = {"keep_days": 30, "max_gb": 0} if limit == "days" else {"keep_days": 0, "max_gb": 1e-12}
    await storage.media.sweep(unused_s=1e9, **rules)
    left = (await storage.jobs.get_job(grid.id, ann.id)).result.pictures

    assert [one and one.number for one in left] == ([None, 2, 3] if limit == "days" else [None, None, None])
