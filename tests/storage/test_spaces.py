"""Policies of spaces are stored."""

import pytest

from bot.ports import SpacePolicy
from storage.dialect import database_url
from storage.migration import run_migrations
from storage.sqlite import SqliteDialect
from tests.storage.factories import accept


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
