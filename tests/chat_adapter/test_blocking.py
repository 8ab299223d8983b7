"""A blocked person in a chat: one sentence for whatever makes something new, and everything else as before."""

import pytest

from bot.ports import Person
from tests.chat_adapter.conftest import LineApp

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def block(app: LineApp, account: str, *, is_blocked: bool = True) -> Person:
    usecases = app.application.usecases
    person = await usecases.people.identify_account("lines", account, account)
    local = await usecases.people.local_person()
    await usecases.admin.set_blocked(local, "local", person.id, is_blocked=is_blocked)
    return person


async def test_what_makes_something_new_is_refused_and_the_rest_works(app: LineApp) -> None:
    drawn = await app.chat.receive("bea", "/imagine a fox")
    person = await block(app, "bea")
    jobs = app.application.usecases.jobs
    refused = [await app.chat.receive("bea", line) for line in ("/imagine an owl", "/imagine {a|b} fox")]
    other = [await app.chat.receive("bea", line) for line in ("/history", "/quota", "/privacy")]
    count = await jobs.count_jobs(person)
    await block(app, "bea", is_blocked=False)
    again = await app.chat.receive("bea", "/imagine an owl")

    assert "blocked" not in drawn
    assert "An admin has blocked you here" in refused[0]
    assert refused[1] == refused[0]
    assert "fox" in other[0]
    assert not any("An admin has blocked" in text for text in (*other, again))
    assert count == 1
    assert await jobs.count_jobs(person) == 2


async def test_a_blocked_admin_of_a_chat_administers_nothing(app: LineApp) -> None:
    before = await app.chat.receive("ada", "/admin models")
    await block(app, "ada")
    refused = await app.chat.receive("ada", "/admin models")

    assert refused == await app.chat.receive("nobody", "/admin models") != before
