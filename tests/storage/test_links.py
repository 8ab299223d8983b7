"""Two persons become one, in one transaction, with all that leads to them; accounts leave again, and gain nothing."""

import asyncio
import itertools
import json
import zipfile
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import UniqueConstraint, insert, select, update

from bot.errors import NotFound, QuotaExceeded
from bot.jobs import ImageRef
from bot.ports import Limits
from bot.problem_texts.link_problems import LinkRefused
from storage import merge
from storage.carried_usage import CountedUsage, carry_usage
from storage.learning_tables import consent, correction
from storage.link_tables import link_code, link_event
from storage.moderation_tables import refusal
from storage.picture_tables import collection, collection_item, favourite, report, session
from storage.schema import account, api_key, job, media_owner, metadata, person, person_setting, utcnow
from tests.storage.factories import accept, claim, make_media, make_origin, make_picture, render

DEFAULT_S = 100.0
NAMES = itertools.count()


@pytest.fixture
async def anna(storage):
    """Ann's other account."""
    return await storage.people.identify_account("telegram", "7", "Anna")


async def write(storage, table, row):
    await storage.jobs._database.run_write(lambda tx: tx.execute(insert(table), row))


async def rows(storage, query):
    return await storage.jobs._database.run_read(lambda tx: [tuple(row) for row in tx.execute(query)])


async def code_of(storage, owner, *, minutes=10):
    code_hash = f"{next(NAMES):064x}"
    await storage.links.add_code(owner.id, code_hash, utcnow() + timedelta(minutes=minutes))
    return code_hash


async def link(storage, asked, typed, *, default_s=DEFAULT_S):
    """`asked` got the code, `typed` typed it."""
    return await storage.links.link(typed.id, await code_of(storage, asked), default_s)


async def finish(storage, owner, data=b"made", **overrides):
    """A delivered job with a picture."""
    [one] = await accept(storage, owner, **overrides)
    running = await claim(storage, only=frozenset({one.id}))
    made = await storage.media.write_file(make_media(data))
    await render(storage, running, media=(make_picture(made),))
    return one


async def fill(storage, owner, platform):
    """A row for the person in every table that leads to one."""
    now, name = utcnow(), owner.name
    upload = await storage.media.add_upload(
        owner.id, make_media(f"photo of {name}".encode()), width=8, height=8, parameters=None, source=platform
    )
    one = await finish(
        storage,
        owner,
        data=f"made for {name}".encode(),
        images=(ImageRef(upload.id),),
        batch=f"batch-{name}",
        search_text=f"zebra {name}",
        origin=make_origin(platform=platform, account_id=name),
    )
    await storage.people.add_key(f"key-{name}", "f" * 64, owner, False)
    await storage.people.set_setting(owner.id, f"only-{name}", 1)
    await code_of(storage, owner)
    for table, row in (
        (session, {"token_hash": f"token-{name}", "key": f"key-{name}", "expires_at": now}),
        (favourite, {"person": owner.id, "job": one.id, "picture": 1, "created_at": now}),
        (collection, {"id": f"c-{name}", "person": owner.id, "name": "Best", "created_at": now}),
        (collection_item, {"collection": f"c-{name}", "job": one.id, "picture": 1, "created_at": now}),
        (report, {"person": owner.id, "job": one.id, "picture": 1, "reason": "", "created_at": now}),
        (link_event, {"person": owner.id, "kind": "link", "details": {}, "at": now}),
        (refusal, {"person": owner.id, "platform": platform, "command": "ask", "reason": "words", "at": now}),
        (
            correction,
            {"id": f"x-{name}", "job": one.id, "person": owner.id, "media": upload.id, "created_at": now}
            | {"question": "", "answer": "a cat", "text": "a lynx"},
        ),
        (consent, {"correction": f"x-{name}", "person": owner.id, "given_at": now}),
    ):
        await write(storage, table, row)
    await storage.jobs._database.run_write(lambda tx: carry_usage(tx, owner.id, CountedUsage(1.0, 10), now))
    return one


async def assert_sound(storage):
    assert await storage.ledger.find_imbalances() == []
    assert await storage.maintenance.check() == []


# ---------------------------------------------------------------- everything moves


def person_tables():
    return {column.table.name: column for column in merge.person_columns()}


def test_every_column_for_a_person_says_so_in_the_schema():
    """Only what refers to `person` is moved by itself."""
    named = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.c
        if column.name in ("person", "owner", "person_id", "owner_id")
    }

    assert named == {f"{column.table.name}.{column.name}" for column in merge.person_columns()}


@pytest.mark.parametrize("table", sorted(person_tables()))
def test_where_two_persons_can_have_the_same_key_their_rows_are_joined(table):
    column = person_tables()[table]
    keys = [column.table.primary_key.columns] + [
        one.columns for one in column.table.constraints if isinstance(one, UniqueConstraint)
    ]
    can_clash = any(column.name in {key.name for key in columns} for columns in keys)

    assert not can_clash or table in merge._JOINS


async def test_nothing_leads_to_the_emptied_person_any_more(storage, ann, anna):
    for owner, platform in ((ann, "discord"), (anna, "telegram")):
        await fill(storage, owner, platform)
    filled = {table: await rows(storage, select(column)) for table, column in person_tables().items()}
    result = await link(storage, ann, anna)
    left = {
        (table.name, column.name)
        for table in metadata.tables.values()
        for column in table.c
        for (value,) in await rows(storage, select(column))
        if result.emptied in str(value)
    }

    assert all({ann.id, anna.id} <= {one for (one,) in found} for found in filled.values()), filled
    assert left == {("person", "id")}
    assert {result.kept, result.emptied} == {ann.id, anna.id}
    await assert_sound(storage)


async def test_both_accounts_have_one_history_that_is_searched_and_followed(storage, ann, anna):
    first, second = await fill(storage, ann, "discord"), await fill(storage, anna, "telegram")
    await finish(storage, ann, search_text="another")  # she has more jobs, so she remains
    seen = await storage.changes.last_change(ann.id)
    await link(storage, ann, anna)
    one = await storage.people.identify_account("telegram", "7", "Anna")

    found, _ = await storage.history.list_jobs(ann.id, state=None, q="zebra", before=None, limit=9)
    assert one.id == ann.id
    assert {job.id for job in found} == {first.id, second.id}
    assert await storage.history.count_jobs(ann.id, state=None, q="") == 3
    assert [change.job.id for change in await storage.changes.list_changes(ann.id, seen, 9)] == [second.id]
    assert await storage.changes.first_resumable(ann.id) == await storage.changes.last_change(ann.id) > seen
    assert await storage.changes.first_resumable("nobody") == 0
    assert await rows(storage, select(collection.c.name)) == [("Best",)]
    assert len(await rows(storage, select(collection_item))) == len(await rows(storage, select(favourite))) == 2
    assert {key.person.id for key in await storage.people.list_keys()} == {ann.id}


async def test_an_image_of_both_is_one_and_never_enters_training_by_linking(storage, ann, anna):
    upload = make_media(b"the same photo")
    for owner, source in ((ann, "web"), (anna, "telegram")):
        await storage.media.add_upload(owner.id, upload, width=8, height=8, parameters=None, source=source)
    own = await storage.media.add_upload(ann.id, make_media(b"own"), width=8, height=8, parameters=None, source="web")
    await link(storage, ann, anna)

    found = dict(await rows(storage, select(media_owner.c.media, media_owner.c.source)))
    assert found.pop(own.id) == "web"
    assert list(found.values()) == ["telegram"]


async def test_of_two_values_of_a_setting_the_remaining_persons_counts(storage, ann, anna):
    await accept_and_end(storage, ann, 1)
    for owner, steps in ((ann, 7), (anna, 9)):
        await storage.people.set_setting(owner.id, "steps", steps)
    await storage.people.set_setting(anna.id, "size", "64x64")
    await link(storage, ann, anna)

    assert await storage.people.get_settings(ann.id) == {"steps": 7, "size": "64x64"}
    assert len(await rows(storage, select(person_setting))) == 2


async def test_an_audit_row_says_what_was_linked(storage, ann, anna):
    await finish(storage, ann)
    result = await link(storage, anna, ann)
    [(owner, kind, details)] = await rows(storage, select(link_event.c.person, link_event.c.kind, link_event.c.details))

    assert (owner, kind) == (result.kept, "link")
    assert details["own"] == {"accounts": ["discord"], "jobs": 1, "pictures": 1, "used": 2.0}
    assert "Ann" not in str(details)


async def test_what_does_not_add_up_afterwards_links_nothing(storage, ann, anna, monkeypatch):
    await finish(storage, ann)
    monkeypatch.setattr("storage.audit.find_problems_of", lambda _tx, _person: ["The quota is wrong."])

    with pytest.raises(RuntimeError, match="wrong"):
        await link(storage, ann, anna)
    assert (await storage.people.identify_account("telegram", "7", "Anna")).id == anna.id


async def test_the_person_is_called_as_before_whatever_the_other_account_is_called(storage, ann, anna):
    await accept_and_end(storage, ann, 1)
    await link(storage, anna, ann)
    by_other = await storage.people.identify_account("telegram", "7", "A.")
    renamed = await storage.people.identify_account("discord", "1", "Annie")

    assert (by_other.name, renamed.name) == ("Ann", "Annie")
    assert [one.name for one in await storage.links.list_accounts(ann.id)] == ["Annie", "A."]


async def test_own_photos_from_another_account_are_ones_own(storage, ann, anna, ben):
    await storage.people.person_named("home")
    await link(storage, ann, anna)
    await link(storage, ann, home := await storage.people.person_named("home"))
    ids = {ann.id, anna.id, home.id}

    assert await storage.people.names_of("telegram", "7") == {"1", "7", *ids}
    for one in ids:
        assert await storage.people.names_of("web", one) == {"1", "7", *ids}
    assert await storage.people.names_of("discord", "2") == {"2", ben.id}
    assert await storage.people.names_of("discord", "unknown") == frozenset()


async def test_an_export_names_all_accounts_and_no_code(storage, ann, anna):
    await link(storage, ann, anna)
    code = await code_of(storage, ann)
    path = await storage.privacy.export_person(ann.id)
    with zipfile.ZipFile(path) as archive:
        text = archive.read("everything.json").decode()
    found = json.loads(text)

    assert {one["name"] for one in found["accounts"]} == {"Ann", "Anna"}
    assert [one["kind"] for one in found["links"]] == ["link"]
    assert len(found["link_codes"]) == 2
    assert code not in text


# ---------------------------------------------------------------- quota


async def accept_and_end(storage, owner, count, cost=2.0, limits=None):
    """Jobs that used their cost."""
    for _ in range(count):
        more: dict[str, Any] = {} if limits is None else {"limits": Limits(daily_s=limits, outstanding=99)}
        [one] = await accept(storage, owner, cost=cost, **more)
        await render(storage, await claim(storage, only=frozenset({one.id})))


async def used_today(storage, owner):
    return (await storage.ledger.daily_usage(owner.id, utcnow().date().isoformat())).used


async def set_limit(storage, owner, daily_s):
    change = update(person).where(person.c.id == owner.id).values(daily_s=daily_s)
    await storage.jobs._database.run_write(lambda tx: tx.execute(change).rowcount)


async def test_used_amounts_add_up(storage, ann, anna):
    await accept_and_end(storage, ann, 2)
    await accept_and_end(storage, anna, 1)
    result = await link(storage, ann, anna)

    assert await used_today(storage, ann) == 6.0
    assert (result.used, result.limit) == (6.0, DEFAULT_S)
    await assert_sound(storage)


@pytest.mark.parametrize(
    ("ann_s", "anna_s", "expected"),
    [
        (None, None, None),
        (50.0, None, None),
        (None, 50.0, None),
        (300.0, None, 300.0),
        (None, 300.0, 300.0),
        (30.0, 40.0, 40.0),
    ],
)
async def test_the_larger_limit_counts(storage, ann, anna, ann_s, anna_s, expected):
    await set_limit(storage, ann, ann_s)
    await set_limit(storage, anna, anna_s)
    result = await link(storage, ann, anna)

    assert (await storage.people.identify_account("discord", "1", "Ann")).daily_s == expected
    assert result.limit == (DEFAULT_S if expected is None else expected)


async def test_without_a_default_limit_everybody_else_is_unlimited(storage, ann, anna):
    await set_limit(storage, ann, 50.0)
    result = await link(storage, ann, anna, default_s=None)

    assert result.limit is None
    assert (await storage.people.identify_account("discord", "1", "Ann")).daily_s is None


async def test_an_unlinked_account_has_no_fresh_quota(storage, ann, anna):
    await accept_and_end(storage, ann, 2)
    await link(storage, ann, anna)
    gone = await storage.links.unlink(ann.id, "telegram", None, DEFAULT_S)
    alone = await storage.people.identify_account("telegram", "7", "Anna")

    assert [one.name for one in gone] == ["Anna"]
    assert alone.id not in (ann.id, anna.id)
    assert await storage.history.count_jobs(alone.id, state=None, q="") == 0
    assert await used_today(storage, alone) == await used_today(storage, ann) == 4.0
    with pytest.raises(QuotaExceeded) as refused:
        await accept_and_end(storage, alone, 1, limits=5.0)
    assert refused.value.left == 1.0
    await accept_and_end(storage, alone, 1, limits=6.0)
    await assert_sound(storage)


async def test_loops_of_linking_and_unlinking_gain_nothing_and_lose_nothing(storage, ann, anna):
    for _ in range(3):
        await accept_and_end(storage, ann, 1)
        telegram = await storage.people.identify_account("telegram", "7", "Anna")
        await link(storage, ann, telegram)
        await storage.links.unlink(ann.id, "telegram", None, DEFAULT_S)
    telegram = await storage.people.identify_account("telegram", "7", "Anna")
    await accept_and_end(storage, telegram, 1)
    alone = await used_today(storage, telegram)
    await link(storage, ann, telegram)

    assert alone == 8.0
    assert await used_today(storage, ann) == 8.0
    await assert_sound(storage)


async def test_uploads_of_a_day_count_for_an_unlinked_account_too(storage, ann, anna):
    await storage.media.add_upload(ann.id, make_media(b"12345"), width=8, height=8, parameters=None)
    await link(storage, ann, anna)
    await storage.links.unlink(ann.id, "telegram", None, DEFAULT_S)
    alone = await storage.people.identify_account("telegram", "7", "Anna")
    since = utcnow() - timedelta(hours=24)

    assert (await storage.media.upload_usage(alone.id, since)).used == 5
    assert (await storage.media.upload_usage(alone.id, utcnow())).used == 0
    assert (await storage.media.upload_usage(ann.id, since)).used == 5


@pytest.mark.parametrize(("limit", "expected"), [(10.0, 10.0), (500.0, None), (None, None)])
async def test_nobody_leaves_a_smaller_quota_or_multiplies_a_larger_one(storage, ann, anna, limit, expected):
    await link(storage, ann, anna)
    kept = await storage.people.identify_account("discord", "1", "Ann")
    await set_limit(storage, kept, limit)
    await storage.links.unlink(kept.id, "telegram", None, DEFAULT_S)

    assert (await storage.people.identify_account("telegram", "7", "Anna")).daily_s == expected


async def test_only_a_chat_account_leaves_and_never_the_last_one(storage, ann):
    local = await storage.people.local_person()
    with pytest.raises(LinkRefused, match="only_account"):
        await storage.links.unlink(ann.id, "discord", None, DEFAULT_S)
    await link(storage, local, ann)
    for platform, account_id in (("local", None), ("telegram", None), ("discord", "2")):
        with pytest.raises(LinkRefused, match="not_linked"):
            await storage.links.unlink(local.id, platform, account_id, DEFAULT_S)
    await storage.links.unlink(local.id, "discord", "1", DEFAULT_S)

    assert not (await storage.people.identify_account("discord", "1", "Ann")).is_local


# ---------------------------------------------------------------- who remains, and with which rights


@pytest.mark.parametrize("asks_local", [True, False])
async def test_the_local_person_remains_and_nobody_elses_key_gains_rights(storage, ann, asks_local):
    local = await storage.people.local_person()
    await storage.people.add_key("abcd", "f" * 64, ann, False)
    await accept_and_end(storage, ann, 2)
    result = await (link(storage, local, ann) if asks_local else link(storage, ann, local))

    assert (result.kept, result.emptied, result.limit) == (local.id, ann.id, None)
    assert (await storage.people.local_person()) == local
    assert not (await storage.people.find_key("abcd"))[0].is_admin


async def test_three_accounts_become_one_in_steps(storage, ann, anna, ben):
    await link(storage, ann, anna)
    await link(storage, anna_now := await storage.people.identify_account("telegram", "7", "Anna"), ben)
    ids = {
        (await storage.people.identify_account(*one)).id
        for one in (("discord", "1", "Ann"), ("telegram", "7", "Anna"), ("discord", "2", "Ben"))
    }

    assert len(ids) == 1
    assert {one for (one,) in await rows(storage, select(person.c.merged_into))} == {None, *ids}
    assert anna_now.id in ids


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("whose", ["ann", "anna"])
@pytest.mark.parametrize("state", ["queued", "running", "undelivered"])
async def test_nothing_is_linked_while_anything_is_under_way(storage, ann, anna, whose, state):
    [one] = await accept(storage, ann if whose == "ann" else anna, wants_delivery=state == "undelivered")
    if state != "queued":
        running = await claim(storage)
    if state == "undelivered":
        await render(storage, running)
    code = await code_of(storage, ann)

    for act in (storage.links.preview, storage.links.link):
        with pytest.raises(LinkRefused, match="deliveries" if state == "undelivered" else "open_jobs"):
            await act(anna.id, code, DEFAULT_S)
    assert (await storage.jobs.get_job(one.id, None)).owner in (ann.id, anna.id)
    if state == "queued":
        await storage.jobs.request_cancel(one.id, one.owner)
        await storage.links.link(anna.id, code, DEFAULT_S)


async def test_messages_that_wait_to_be_deleted_do_not_keep_accounts_apart(storage, ann, anna):
    one = await finish(storage, ann)
    await storage.outbox.remember_message(one.id, "telegram", "9:3")
    await storage.privacy.erase_job(one.id, ann.id, retracts=True)

    await link(storage, ann, anna)

    [waiting] = await storage.outbox.due_deliveries()
    assert (waiting.kind, waiting.refs) == ("retract", ("9:3",))


async def test_messages_that_wait_to_be_edited_do_not_keep_accounts_apart(storage, ann, anna):
    """Such as those of a platform that is off."""
    [one] = await accept(storage, ann, wants_delivery=True)
    await storage.outbox.mark_sent((await storage.outbox.due_deliveries())[0], "7:1")
    running = await claim(storage)
    made = [make_picture(await storage.media.write_file(make_media(b"fox %d" % n))) for n in range(2)]
    await render(storage, running, media=tuple(made))
    await storage.outbox.mark_sent((await storage.outbox.due_deliveries())[0], "7:1")
    await storage.privacy.erase_picture(one.id, ann.id, 1)

    await link(storage, ann, anna)

    [waiting] = await storage.outbox.due_deliveries()
    assert (waiting.kind, waiting.job.id) == ("result", one.id)
    await storage.outbox.mark_sent(waiting, "7:1")
    await assert_sound(storage)


@pytest.mark.parametrize("kind", ["wrong", "expired", "used", "own", "linked", "replaced", "revoked", "no_quota"])
async def test_each_refusal_has_its_reason_and_changes_nothing(storage, ann, anna, ben, kind):
    code = await code_of(storage, ann, minutes=-1 if kind == "expired" else 10)
    typed = anna
    match kind:
        case "wrong":
            code = "0" * 63 + "x"
        case "used":
            await storage.links.link(ben.id, code, DEFAULT_S)
        case "linked":
            await storage.links.link(anna.id, code, DEFAULT_S)
        case "own":
            typed = ann
        case "replaced":
            await code_of(storage, ann)
        case "revoked":
            await storage.links.revoke_code(code)
        case "no_quota":
            await set_limit(storage, ann, 0.0)
    before = await rows(storage, select(account.c.account_id, account.c.person).order_by(account.c.account_id))

    problem = {"linked": "linked", "no_quota": "no_quota"}.get(kind)
    problem = problem or f"{'wrong' if kind in ('replaced', 'revoked') else kind}_code"
    with pytest.raises(LinkRefused) as refused:
        await storage.links.link(typed.id, code, DEFAULT_S)
    assert refused.value.problem == problem
    assert await rows(storage, select(account.c.account_id, account.c.person).order_by(account.c.account_id)) == before


async def test_a_preview_says_what_will_happen_and_uses_nothing(storage, ann, anna):
    await finish(storage, ann)
    code = await code_of(storage, ann)
    before = await storage.links.preview(anna.id, code, DEFAULT_S)
    linked = await storage.links.link(anna.id, code, DEFAULT_S)

    assert before == linked
    assert [one.name for one in before.own.accounts + before.other.accounts] == ["Anna", "Ann"]
    assert (before.other.jobs, before.other.pictures, before.other.used) == (1, 1, 2.0)


async def test_a_stored_code_is_its_hash_and_old_ones_are_deleted(storage, ann, ben):
    await code_of(storage, ben, minutes=-2000)
    code = await code_of(storage, ann)

    assert await rows(storage, select(link_code.c.code_hash)) == [(code,)]


# ---------------------------------------------------------------- races


async def outcomes(*actions):
    found = await asyncio.gather(*actions, return_exceptions=True)
    return sorted(getattr(one, "problem", type(one).__name__) for one in found)


async def test_two_people_who_type_each_others_codes_are_linked_once(storage, ann, anna):
    codes = await code_of(storage, ann), await code_of(storage, anna)

    found = await outcomes(
        storage.links.link(anna.id, codes[0], DEFAULT_S), storage.links.link(ann.id, codes[1], DEFAULT_S)
    )
    assert found == ["LinkResult", "wrong_code"]
    assert len({one for (one,) in await rows(storage, select(account.c.person))}) == 1
    await assert_sound(storage)


async def test_a_code_that_is_typed_twice_at_the_same_time_links_once(storage, ann, anna, ben):
    code = await code_of(storage, ann)

    found = await outcomes(
        storage.links.link(anna.id, code, DEFAULT_S),
        storage.links.link(ben.id, code, DEFAULT_S),
        storage.links.link(anna.id, code, DEFAULT_S),
    )
    assert found == ["LinkResult", "linked", "used_code"]


async def test_a_code_ends_with_the_person_who_got_it(storage, ann, anna):
    code = await code_of(storage, ann)
    await storage.privacy.forget_person(ann.id)

    with pytest.raises(LinkRefused, match="wrong_code"):
        await storage.links.link(anna.id, code, DEFAULT_S)
    with pytest.raises(NotFound):
        await storage.links.add_code(ann.id, "1" * 64, utcnow())
    assert (await storage.people.identify_account("telegram", "7", "Anna")).id == anna.id


async def test_forgetting_erases_what_all_linked_accounts_had(storage, ann, anna):
    for owner, platform in ((ann, "discord"), (anna, "telegram")):
        await fill(storage, owner, platform)
    result = await link(storage, ann, anna)
    await storage.privacy.forget_person(result.kept)

    assert await rows(storage, select(account.c.platform)) == [("local",)]
    assert set(await rows(storage, select(job.c.erased))) == {(True,)}
    for table in (media_owner, favourite, collection, report, refusal, link_code, link_event, api_key):
        assert await rows(storage, select(table)) == [], table.name
    await assert_sound(storage)


async def test_of_forgetting_and_linking_at_the_same_time_one_is_refused(storage, ann, anna):
    await finish(storage, anna)
    await accept_and_end(storage, ann, 2)  # she would remain
    code = await code_of(storage, ann)

    found = await outcomes(
        storage.links.link(anna.id, code, DEFAULT_S), storage.privacy.forget_person(ann.id, with_linked=False)
    )
    assert found in (["LinkResult", "several_accounts"], ["list", "wrong_code"])
    assert not any(await rows(storage, select(job.c.erased).where(job.c.owner == anna.id)))
    await assert_sound(storage)


async def test_a_person_who_was_linked_meanwhile_is_not_forgotten_unasked(storage, ann, anna):
    """Who asked for it was told of one account only."""
    job_of_ann = await finish(storage, ann)
    result = await link(storage, ann, anna)

    with pytest.raises(NotFound):
        await storage.privacy.forget_person(result.emptied)
    assert await storage.jobs.get_job(job_of_ann.id, result.kept)


async def test_a_request_that_began_as_the_emptied_person_stores_nothing(storage, ann, anna):
    await accept_and_end(storage, ann, 1)
    await link(storage, ann, anna)
    late = (
        lambda: accept(storage, anna),
        lambda: storage.media.add_upload(anna.id, make_media(b"late"), width=8, height=8, parameters=None),
        lambda: storage.people.set_setting(anna.id, "steps", 7),
        lambda: storage.people.add_key("abcd", "f" * 64, anna, False),
        lambda: storage.links.add_code(anna.id, "1" * 64, utcnow()),
        lambda: storage.collections.create(anna.id, "Best"),
    )

    for act in late:
        with pytest.raises(NotFound):
            await act()
    assert {one.name for one in await storage.links.list_accounts(anna.id)} == {"Ann", "Anna"}
    await assert_sound(storage)
