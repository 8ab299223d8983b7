import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from bot.errors import JobNotFound, NotFound
from storage.people import LOCKED


async def test_the_local_person_is_one_and_an_admin(storage):
    people = await asyncio.gather(*(storage.people.local_person() for _ in range(5)))

    assert len({person.id for person in people}) == 1
    assert people[0].is_local
    assert people[0].is_admin


async def test_an_account_is_one_person_on_each_platform(storage):
    first = await storage.people.identify_account("discord", "1", "Ann")
    again = await storage.people.identify_account("discord", "1", "Ann")
    elsewhere = await storage.people.identify_account("telegram", "1", "Ann")

    assert first == again
    assert first.id != elsewhere.id
    assert not first.is_admin


async def test_concurrent_first_contacts_make_one_person(storage):
    people = await asyncio.gather(*(storage.people.identify_account("discord", "9", "Ann") for _ in range(20)))

    assert len({person.id for person in people}) == 1


async def test_a_person_is_called_what_they_call_themselves_now(storage):
    before = await storage.people.identify_account("discord", "1", "Ann")
    after = await storage.people.identify_account("discord", "1", "Anna")

    assert (after.id, after.name) == (before.id, "Anna")


async def test_a_display_name_gives_no_access_to_another_person(storage):
    named = await storage.people.person_named("boss")
    impostor = await storage.people.identify_account("telegram", "666", "boss")

    assert impostor.id != named.id
    assert (await storage.people.person_named("boss")).id == named.id
    assert named.id != (await storage.people.local_person()).id
    for platform in ("local", "name"):
        with pytest.raises(ValueError, match="platform"):
            await storage.people.identify_account(platform, "local", "boss")


async def test_a_key_is_found_by_its_prefix_with_its_person(storage, ann):
    assert not await storage.people.has_keys()
    added = await storage.people.add_key("abcd", "f" * 64, ann, False)
    key, secret_hash = await storage.people.find_key("abcd")

    assert (key.person, key.is_admin, key.created_at) == (ann, False, added.created_at)
    assert secret_hash == "f" * 64
    assert await storage.people.has_keys()
    assert await storage.people.find_key("abce") is None


async def test_a_revoked_key_is_listed_but_not_found(storage, ann):
    await storage.people.add_key("abcd", "f" * 64, ann, True)
    revoked = await storage.people.revoke_key("abcd")
    again = await storage.people.revoke_key("abcd")

    assert revoked.revoked_at is not None
    assert again.revoked_at == revoked.revoked_at
    assert await storage.people.find_key("abcd") is None
    assert [key.prefix for key in await storage.people.list_keys()] == ["abcd"]
    assert not await storage.people.has_keys()


async def test_once_a_key_existed_the_server_stays_locked_until_it_is_unlocked(storage, ann):
    states = [await storage.people.is_locked()]
    await storage.people.add_key("abcd", "f" * 64, ann, True)
    states.append(await storage.people.is_locked())
    active = await storage.people.unlock()
    states.append(await storage.people.is_locked())
    await storage.people.revoke_key("abcd")
    states.append(await storage.people.is_locked())
    none_active = await storage.people.unlock()
    states.append(await storage.people.is_locked())
    await storage.people.add_key("abce", "f" * 64, ann, True)
    await storage.people.revoke_key("abce")
    states.append(await storage.people.is_locked())

    assert (active, none_active) == (1, 0)
    assert states == [False, True, True, True, False, True]
    assert [key.prefix for key in await storage.people.list_keys()] == ["abcd", "abce"]


async def test_a_key_of_an_older_version_locks_as_well(storage, ann):
    await storage.people.add_key("abcd", "f" * 64, ann, True)
    await storage.people.revoke_key("abcd")
    await storage.people.clear_setting((await storage.people.local_person()).id, LOCKED)

    assert await storage.people.is_locked()


@pytest.mark.parametrize("is_revoked", [True, False])
async def test_forgetting_the_last_keys_owner_unlocks_nothing(storage, ann, is_revoked):
    for owner in (ann, await storage.people.local_person()):
        await storage.people.add_key(owner.id[:8], "f" * 64, owner, True)
        if is_revoked:
            await storage.people.revoke_key(owner.id[:8])
        await storage.privacy.forget_person(owner.id)

        assert await storage.people.list_keys() == []
        assert await storage.people.is_locked()


async def test_forgetting_somebody_without_a_key_locks_nothing(storage, ann):
    await storage.privacy.forget_person(ann.id)

    assert not await storage.people.is_locked()


async def test_an_unknown_key_cannot_be_revoked(storage):
    with pytest.raises(NotFound):
        await storage.people.revoke_key("abcd")


async def test_use_of_a_key_is_noted_about_once_a_minute(storage, ann):
    await storage.people.add_key("abcd", "f" * 64, ann, False)
    await storage.people.find_key("abcd")
    await storage.people.person_named("anyone")  # the writer has come past the note
    [used] = await storage.people.list_keys()
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=30)):
        await storage.people.find_key("abcd")
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=90)):
        await storage.people.find_key("abcd")
        await storage.people.person_named("someone")
        [later] = await storage.people.list_keys()

    assert used.last_used_at is not None
    assert later.last_used_at - used.last_used_at > timedelta(seconds=80)


@pytest.mark.parametrize("text", ["\ud800", "\ud800" * 4, "é" * 16])
async def test_what_no_id_can_be_finds_nothing(storage, ann, text):
    with pytest.raises(JobNotFound):
        await storage.jobs.get_job(text, ann.id)
    with pytest.raises(NotFound):
        await storage.people.revoke_key(text)
