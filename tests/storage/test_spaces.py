"""Policies of spaces are stored."""

import pytest

from bot.ports import SpacePolicy
from storage.dialect import database_url
from storage.migration import run_migrations
from storage.sqlite import SqliteDialect
from tests.storage.factories import accept, claim, make_origin, render


async def test_an_unknown_space_has_no_policy(storage):
    assert await storage.spaces.get_policy("discord", "1") == SpacePolicy()


@pytest.mark.parametrize("chosen", [SpacePolicy(policy="allow"), SpacePolicy(edit_others=False), SpacePolicy()])
async def test_what_was_chosen_is_found_on_its_platform_alone(storage, chosen):
    await storage.spaces.set_policy("discord", "1", SpacePolicy(policy="spoiler", edit_others=True))
    await storage.spaces.set_policy("discord", "1", chosen)

    assert await storage.spaces.get_policy("discord", "1") == chosen
    assert await storage.spaces.get_policy("telegram", "1") == SpacePolicy()


async def test_a_space_may_choose_before_and_after_its_first_job(storage, ann):
    [job] = await accept(storage, ann)
    space = (job.origin.platform, job.origin.space_id)
    await storage.spaces.set_policy(*space, SpacePolicy(policy="allow"))
    await storage.spaces.set_policy(space[0], "another", SpacePolicy(policy="block"))
    await accept(storage, ann, space="another")

    assert await storage.spaces.get_policy(*space) == SpacePolicy(policy="allow")
    assert await storage.spaces.get_policy(space[0], "another") == SpacePolicy(policy="block")


def test_spaces_from_before_the_upgrade_have_chosen_nothing(tmp_path):
    dialect = SqliteDialect(database_url("", tmp_path), busy_timeout_ms=200, readers=1)
    engine = dialect.open_migrator()
    with engine.connect() as connection, connection.begin():
        run_migrations(connection, dialect, "0002")
        connection.exec_driver_sql("INSERT INTO space VALUES ('discord:1', 'discord', '2026-01-01')")
        run_migrations(connection, dialect, "0003")
        kept = connection.exec_driver_sql("SELECT id, policy, edit_others FROM space").all()
    engine.dispose()

    assert kept == [("discord:1", None, None)]


# ---------------------------------------------------------------- another id


def in_space(space, **more):
    return make_origin(platform="telegram", space_id=space, chat_id=space, message_id="7", thread_id="3", **more)


async def accept_in(storage, person, space, **more):
    [job] = await accept(storage, person, origin=in_space(space), wants_delivery=True, **more)
    return job


async def found(storage, job):
    return await storage.jobs.get_job(job.id, None)


async def test_a_space_with_another_id_keeps_its_policy_its_jobs_and_its_place_in_the_queue(storage, ann, ben):
    await storage.spaces.set_policy("telegram", "-5", SpacePolicy(policy="block", edit_others=True))
    ended, running, queued = [await accept_in(storage, ann, "-5") for _ in range(3)]
    await render(storage, await claim(storage, only=frozenset({ended.id})))
    started = await claim(storage, only=frozenset({running.id}))
    others = await accept_in(storage, ben, "-100")

    await storage.spaces.move_space("telegram", "-5", "-100")
    await storage.spaces.move_space("telegram", "-5", "-100")
    await render(storage, started)

    assert await storage.spaces.get_policy("telegram", "-100") == SpacePolicy(policy="block", edit_others=True)
    assert await storage.spaces.get_policy("telegram", "-5") == SpacePolicy(policy="block", edit_others=True)
    for job in (ended, running, queued):
        origin = (await found(storage, job)).origin
        assert (origin.space_id, origin.chat_id) == ("-100", "-100")
        assert (origin.message_id, origin.thread_id) == ("", "")  # numbers of the old chat
    assert (await found(storage, others)).origin == others.origin
    assert (await claim(storage, only=frozenset({queued.id}))).id == queued.id
    assert await storage.maintenance.check() == []
    due = await storage.outbox.due_deliveries()
    assert {one.job.origin.chat_id for one in due} == {"-100"}


async def test_many_ended_jobs_move_in_several_transactions(storage, ann, monkeypatch):
    monkeypatch.setattr("storage.spaces.MOVED_PER_TRANSACTION", 2)
    jobs = [await accept_in(storage, ann, "-5") for _ in range(5)]
    for job in jobs:
        await render(storage, await claim(storage, only=frozenset({job.id})))

    await storage.spaces.move_space("telegram", "-5", "-100")

    assert {(await found(storage, job)).origin.space_id for job in jobs} == {"-100"}


async def test_what_the_new_space_chose_itself_stays(storage, ann):
    await accept_in(storage, ann, "-5")
    await storage.spaces.set_policy("telegram", "-5", SpacePolicy(policy="allow", edit_others=True))
    await storage.spaces.set_policy("telegram", "-100", SpacePolicy(policy="block"))

    await storage.spaces.move_space("telegram", "-5", "-100")

    assert await storage.spaces.get_policy("telegram", "-100") == SpacePolicy(policy="block", edit_others=True)


@pytest.mark.parametrize("has_new", [True, False])
async def test_what_the_new_space_chose_after_the_move_stays(storage, ann, has_new):
    await storage.spaces.set_policy("telegram", "-5", SpacePolicy(policy="allow", edit_others=True))
    if has_new:
        await accept_in(storage, ann, "-100")
    await storage.spaces.move_space("telegram", "-5", "-100")
    moved = await storage.spaces.get_policy("telegram", "-100")
    await storage.spaces.set_policy("telegram", "-100", SpacePolicy())

    await accept_in(storage, ann, "-5")  # by a button under an older message
    await storage.spaces.move_space("telegram", "-5", "-100")

    assert moved == SpacePolicy(policy="allow", edit_others=True)
    assert await storage.spaces.get_policy("telegram", "-100") == SpacePolicy()
    assert await storage.maintenance.check() == []


async def test_the_account_of_anonymous_admins_who_made_nothing_yet_moves_along(storage):
    group = await storage.people.identify_account("telegram", "-5", "Friends")
    await storage.spaces.move_space("telegram", "-5", "-100")

    assert await storage.people.identify_account("telegram", "-100", "Friends") == group


async def test_the_account_of_a_groups_anonymous_admins_moves_along(storage):
    group = await storage.people.identify_account("telegram", "-5", "Friends")
    await accept_in(storage, group, "-5")

    await storage.spaces.move_space("telegram", "-5", "-100")

    assert await storage.people.identify_account("telegram", "-100", "Friends") == group


@pytest.mark.parametrize(
    ("space", "is_kept"), [("-5", True), ("77", False), ("dm:77", False)], ids=["group", "private", "direct message"]
)
async def test_a_group_keeps_its_rules_when_its_only_person_is_forgotten(storage, space, is_kept):
    person = await storage.people.identify_account("telegram", "77", "Ann")
    await accept_in(storage, person, space)
    await storage.spaces.set_policy("telegram", space, SpacePolicy(policy="block"))
    await storage.privacy.forget_person(person.id)

    chosen = await storage.spaces.get_policy("telegram", space)
    assert chosen == (SpacePolicy(policy="block") if is_kept else SpacePolicy())
    assert await storage.maintenance.check() == []


async def test_messages_that_waited_for_a_space_become_due(storage, ann):
    job = await accept_in(storage, ann, "-5")
    [delivery] = await storage.outbox.due_deliveries()
    await storage.outbox.schedule_retry(delivery, delay_s=9000, reason="not permitted")

    elsewhere = await storage.outbox.retry_space("telegram", "-6")
    here = await storage.outbox.retry_space("telegram", "-5")

    assert (elsewhere, here) == (0, 1)
    assert [one.job.id for one in await storage.outbox.due_deliveries()] == [job.id]
