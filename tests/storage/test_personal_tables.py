"""What leads to a person is exported and forgotten; where images came from, and each person's count of changes."""

import inspect
import json
import re
import sqlite3
import zipfile
from contextlib import closing

import pytest
from sqlalchemy import insert

from bot.jobs import ImageRef, JobState
from storage import erasure, privacy
from storage.picture_tables import collection, collection_item, favourite, report, session
from storage.schema import api_key, job, metadata, outbox, utcnow
from tests.storage.factories import accept, claim, make_media, make_origin, make_picture, render, requeue

KEPT_IN_FORGETTING = {
    "ledger": "its amounts stay, of a person without a name",
    "quota_day": "likewise",
    "person_load": "a counter of jobs",
    "person_share": "a counter of jobs; the space of a private chat is renamed",
}
LEFT_OUT_OF_EXPORTS = {"person_load": "a counter of jobs", "person_share": "a counter of jobs"}


def leads_to_a_person() -> set[str]:
    """Tables whose rows refer to a person, or to a row of a table that does."""
    found = {"person"}
    while True:
        more = {
            table.name
            for table in metadata.tables.values()
            if any(key.column.table.name in found for key in table.foreign_keys)
        } - found
        if not more:
            return found
        found |= more


@pytest.mark.parametrize("table", sorted(leads_to_a_person()))
def test_every_table_that_leads_to_a_person_is_forgotten_and_exported(table):
    assert table in KEPT_IN_FORGETTING or re.search(rf"(?<![\w.]){table}\b", source_of(erasure))
    assert table in LEFT_OUT_OF_EXPORTS or f"_read_rows(tx, {table}, " in source_of(privacy)


def source_of(module):
    """Without its imports."""
    return inspect.getsource(module).partition("\nclass ")[2]


async def fill(storage, owner, one):
    """A row in each of the tables of pictures, for a person and one of their jobs."""
    now = utcnow()
    rows = {
        api_key: {
            "prefix": f"key-{owner.name}",
            "secret_hash": "0",
            "person": owner.id,
            "is_admin": False,
            "created_at": now,
        },
        session: {"token_hash": f"token-{owner.name}", "key": f"key-{owner.name}", "expires_at": now},
        favourite: {"person": owner.id, "job": one.id, "picture": 1, "created_at": now},
        collection: {"id": f"c-{owner.name}", "person": owner.id, "name": f"Best of {owner.name}", "created_at": now},
        collection_item: {"collection": f"c-{owner.name}", "job": one.id, "picture": 1, "created_at": now},
        report: {"person": owner.id, "job": one.id, "picture": 1, "reason": f"{owner.name} says", "created_at": now},
    }
    for table, row in rows.items():
        await storage.jobs._database.run_write(lambda tx, table=table, row=row: tx.execute(insert(table), row))


async def counts(storage, data_dir):
    await storage.maintenance.backup(data_dir / "copy.db")
    names = ("session", "favourite", "collection", "collection_item", "report", "batch")
    with closing(sqlite3.connect(data_dir / "copy.db")) as copy:
        found = {name: copy.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}
    (data_dir / "copy.db").unlink()
    return found


async def test_forgetting_takes_every_row_and_only_the_persons(storage, ann, ben, data_dir):
    for person in (ann, ben):
        [one] = await accept(storage, person, batch=f"b-{person.name}")
        await fill(storage, person, one)
    await storage.privacy.forget_person(ann.id)

    assert set((await counts(storage, data_dir)).values()) == {1}
    assert await storage.maintenance.check() == []


async def test_an_erased_job_leaves_others_favourites_and_its_batch_behind_only_while_jobs_are_left(
    storage, ann, data_dir
):
    first, second = await accept(storage, ann, 2, batch="both")
    await fill(storage, ann, first)
    await storage.privacy.erase_job(first.id, ann.id)
    after_one = await counts(storage, data_dir)
    await storage.privacy.erase_job(second.id, ann.id)

    empty = {"favourite": 0, "collection_item": 0, "report": 0}
    assert after_one == {"session": 1, "collection": 1, "batch": 1, **empty}
    assert await counts(storage, data_dir) == {"session": 1, "collection": 1, "batch": 0, **empty}


async def test_an_export_has_the_rows_and_no_token(storage, ann, ben):
    for person in (ann, ben):
        [one] = await accept(storage, person, batch=f"b-{person.name}")
        await fill(storage, person, one)
    path = await storage.privacy.export_person(ann.id)
    with zipfile.ZipFile(path) as archive:
        rows = json.loads(archive.read("everything.json"))

    for name in ("batches", "sessions", "favourites", "collections", "collection_pictures", "reports"):
        assert len(rows[name]) == 1, name
    assert "token-" not in json.dumps(rows)
    assert "Ben" not in json.dumps(rows)


async def test_a_pending_retraction_survives_the_erasure_of_its_job(storage, ann, data_dir):
    [one] = await accept(storage, ann, wants_delivery=True)
    now = utcnow()
    row = {"job": one.id, "kind": "retract", "target": "discord", "state": "pending", "tries": 0, "due_at": now}
    row |= {"refs": ["7:8", "7:9"], "reason": "", "created_at": now}
    await storage.jobs._database.run_write(lambda tx: tx.execute(insert(outbox), row))
    await storage.privacy.erase_job(one.id, ann.id)
    await storage.maintenance.backup(data_dir / "copy.db")
    with closing(sqlite3.connect(data_dir / "copy.db")) as copy:
        kept = copy.execute("SELECT state, refs FROM outbox WHERE kind = 'retract'").fetchall()

    assert kept == [("pending", '["7:8", "7:9"]')]
    assert await storage.maintenance.check() == []


# ---------------------------------------------------------------- changes


async def changes(storage, owner):
    def read(tx):
        return dict(
            tx.execute(job.select().with_only_columns(job.c.id, job.c.changed).where(job.c.owner == owner.id)).all()
        )

    return await storage.jobs._database.run_read(read)


async def test_every_change_of_a_persons_jobs_gets_the_next_number(storage, ann, ben):
    first, second = await accept(storage, ann, 2, wants_delivery=True)
    [theirs] = await accept(storage, ben)
    seen = [await changes(storage, ann)]

    async def step(work):
        await work
        seen.append(await changes(storage, ann))

    await step(claim(storage, only=frozenset({first.id})))
    running = await storage.jobs.get_job(first.id, None)
    await step(requeue(storage, running))
    await step(claim(storage, only=frozenset({first.id})))
    running = await storage.jobs.get_job(first.id, None)
    await step(storage.jobs.request_cancel(running.id, ann.id))
    await step(storage.jobs.end_job(running.id, running.attempt, JobState.CANCELLED, None))
    await step(storage.jobs.request_cancel(second.id, ann.id))
    await step(storage.privacy.erase_job(second.id, ann.id))

    assert seen[0] == {first.id: 1, second.id: 2}
    assert [max(one.values()) for one in seen] == list(range(2, 2 + len(seen)))
    assert await changes(storage, ben) == {theirs.id: 1}


# ---------------------------------------------------------------- sources


async def sources(storage, owner):
    path = await storage.privacy.export_person(owner.id)
    with zipfile.ZipFile(path) as archive:
        rows = json.loads(archive.read("everything.json"))["pictures"]
    return {row["media"]: row["source"] for row in rows}


async def upload(storage, owner, data, source):
    media = make_media(data)
    return (await storage.media.add_upload(owner.id, media, width=8, height=8, parameters=None, source=source)).id


async def test_an_image_keeps_where_its_owner_first_got_it(storage, ann, ben):
    photo = await upload(storage, ann, b"a photo", "discord")
    await upload(storage, ann, b"a photo", "web")
    own = await upload(storage, ben, b"his own", "web")
    await storage.media.share(photo, ben.id, source="telegram")
    await storage.media.share(own, ben.id, source="telegram")

    assert await sources(storage, ann) == {photo: "discord"}
    assert await sources(storage, ben) == {photo: "telegram", own: "web"}


@pytest.mark.parametrize(
    ("platform", "extra", "of_input", "expected"),
    [
        ("web", {}, None, "web"),
        ("cli", {}, "web", "cli"),
        ("discord", {}, None, "discord"),
        ("discord", {}, "web", "discord"),
        ("web", {}, "telegram", "telegram"),
        ("web", {"client": "sdapi"}, None, "sdapi"),
        ("web", {}, "unknown", None),
    ],
)
async def test_a_result_comes_from_where_its_job_or_its_input_came_from(
    storage, ann, platform, extra, of_input, expected
):
    images: tuple[ImageRef, ...] = ()
    if of_input is not None:
        source = None if of_input == "unknown" else of_input
        images = (ImageRef(await upload(storage, ann, b"before", source)),)
    origin = make_origin(platform=platform, extra=extra)
    await accept(storage, ann, origin=origin, images=images)
    made = await storage.media.write_file(make_media(b"made"))
    await render(storage, await claim(storage), media=(make_picture(made),))

    assert (await sources(storage, ann))[made] == expected
