"""Blocked persons: nothing of theirs is accepted, however they unlink or forget; and what was refused is listed."""

from datetime import timedelta

import pytest

from bot.errors import Blocked, NotFound
from bot.jobs import JobError, JobState
from bot.problem_texts.link_problems import LinkRefused
from storage import open_storage, restore
from storage.schema import utcnow
from tests.storage.conftest import SETTINGS
from tests.storage.factories import accept, claim

DEFAULT_S = 100.0
AGO = timedelta(days=30)


async def block(storage, owner, *, is_blocked=True):
    return await storage.administration.set_blocked(owner.id, is_blocked=is_blocked)


async def seen(storage, platform="discord", account_id="1", name="Ann"):
    return await storage.people.identify_account(platform, account_id, name)


async def link(storage, asked, typed, code="a" * 64):
    await storage.links.add_code(asked.id, code, utcnow() + timedelta(minutes=10))
    return await storage.links.link(typed.id, code, DEFAULT_S)


async def refuse(storage, owner, reason="words", *, keep=100, keep_since=None, command="imagine"):
    since = keep_since or utcnow() - AGO
    await storage.refusals.add_refusal(
        owner.id, platform="discord", command=command, reason=reason, keep=keep, keep_since=since
    )


async def fail(storage, owner, code="blocked"):
    """A job that ended while it ran."""
    await accept(storage, owner)
    running = await claim(storage)
    await storage.jobs.end_job(
        running.id, running.attempt, JobState.FAILED, error=JobError(code=code, message="Not allowed.")
    )
    return running


async def listed(storage, before=None, limit=100):
    page = await storage.refusals.list_blocked(before=before, limit=limit)
    return [one.job.id if one.job else one.reason for one in page.items], page


async def test_nothing_of_a_blocked_person_is_accepted_until_they_are_unblocked(storage, ann, ben):
    [waiting] = await accept(storage, ann)
    await accept(storage, ben)
    person, open_jobs = await block(storage, ann)
    with pytest.raises(Blocked) as refused:
        await accept(storage, ann)
    again, _ = await block(storage, ann, is_blocked=False)

    assert (person.is_blocked, list(open_jobs), refused.value.reason) == (True, [waiting.id], "person")
    assert (again.is_blocked, (await seen(storage)).is_blocked) == (False, False)
    assert len(await accept(storage, ann)) == len(await accept(storage, ben)) == 1
    assert await storage.maintenance.check() == []
    with pytest.raises(NotFound):
        await storage.administration.set_blocked("nobody", is_blocked=True)


async def test_neither_unlinking_nor_forgetting_renews_a_blocked_person(storage, ann, ben):
    await link(storage, await seen(storage, "telegram", "7", "Anna"), ann)
    kept = await seen(storage)
    await block(storage, kept)
    await storage.links.unlink(kept.id, "telegram", None, DEFAULT_S)
    alone = await seen(storage, "telegram", "7", "Anna")
    await storage.privacy.forget_person(kept.id)
    new = await seen(storage)
    await storage.privacy.forget_person(new.id)  # neither does forgetting again
    newest = await seen(storage)
    await storage.privacy.forget_person(ben.id)

    assert alone.id != kept.id
    assert newest.id != new.id != kept.id
    assert [one.is_blocked for one in (alone, new, newest)] == [True] * 3
    assert not (await seen(storage, "discord", "2", "Ben")).is_blocked
    await block(storage, newest, is_blocked=False)
    await storage.privacy.forget_person(newest.id)
    assert not (await seen(storage)).is_blocked


async def test_a_restored_backup_lifts_no_block(data_dir):
    async with open_storage(SETTINGS, data_dir) as storage:
        ann = await seen(storage)
        await storage.maintenance.backup(data_dir / "backup.db")
        for owner in (ann, await seen(storage, "telegram", "7", "New")):
            await block(storage, owner)
    restored = restore("", data_dir, data_dir / "backup.db", busy_timeout_ms=200)
    async with open_storage(SETTINGS, data_dir) as storage:
        blocked = [(await seen(storage, *who)).is_blocked for who in ((), ("telegram", "7", "New"), ("telegram", "8"))]

    assert restored.problems == ()
    assert blocked == [True, True, False]


async def test_a_blocked_person_is_linked_to_nobody(storage, ann, ben):
    await block(storage, ann)
    with pytest.raises(LinkRefused) as refused:
        await link(storage, ann, ben)

    assert refused.value.problem == "blocked"


async def test_reports_of_a_day_count_for_an_unlinked_account_too(storage, ann, ben):
    first, second, third = await accept(storage, ben, 3)
    await link(storage, await seen(storage, "telegram", "7", "Anna"), ann)
    kept = await seen(storage)

    async def report(owner, one):
        return await storage.reports.save_report(owner.id, one.id, None, "", daily_limit=2)

    assert [await report(kept, first), await report(kept, second)] == ["saved", "saved"]
    for code in ("b" * 64, "c" * 64):  # also if they are linked and unlinked again
        await storage.links.unlink(kept.id, "telegram", None, DEFAULT_S)
        alone = await seen(storage, "telegram", "7", "Anna")
        assert await report(alone, third) == "limit"
        await link(storage, alone, kept, code=code)
        kept = await seen(storage)
    assert await report(kept, third) == "limit"
    assert await storage.reports.save_report(kept.id, third.id, None, "", daily_limit=3) == "saved"


async def test_refused_requests_and_blocked_jobs_are_one_list_in_pages(storage, ann, ben):
    await refuse(storage, ann, "words")
    blocked = await fail(storage, ann)
    await fail(storage, ann, code="internal")
    await refuse(storage, ben, "minors", command="ask")
    other = await fail(storage, ben)
    everything, page = await listed(storage)
    pages: list[list[str]] = []
    before: str | None = None
    while before is not None or not pages:
        names, part = await listed(storage, before, limit=1)
        pages.append(names)
        before = part.next

    assert everything == [other.id, "minors", blocked.id, "words"]
    assert [name for names in pages for name in names] == everything
    assert all(len(names) == 1 for names in pages)
    assert (page.total, page.next) == (4, None)
    assert [(one.person.name, one.command, one.platform) for one in page.items if one.job is None] == [
        ("Ben", "ask", "discord"),
        ("Ann", "imagine", "discord"),
    ]
    assert (await listed(storage, "no cursor"))[0] == everything


async def test_of_each_persons_refusals_the_newest_stay_and_old_ones_of_nobody(storage, ann, ben):
    await refuse(storage, ben, "old")
    for number in range(4):
        await refuse(storage, ann, str(number), keep=2)
    some = (await listed(storage))[0]
    await refuse(storage, ann, "new", keep_since=utcnow())

    assert some == ["3", "2", "old"]
    assert (await listed(storage))[0] == ["new"]


async def test_refusals_go_with_their_person_and_move_with_their_accounts(storage, ann, ben):
    await refuse(storage, ann, "words")
    await link(storage, ann, ben)
    [kept] = (await listed(storage))[1].items
    await storage.privacy.forget_person(kept.person.id)
    with pytest.raises(NotFound):
        await refuse(storage, kept.person)

    assert (await listed(storage))[0] == []
