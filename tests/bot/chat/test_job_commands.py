"""/history page by page, by typing and by buttons."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot.chat.arguments import TYPED
from bot.chat.buttons import parse_button
from bot.chat.commands import run_chat_command, run_command_button
from bot.chat.replies import ChatContext
from bot.errors import JobNotFound, NotYours
from bot.jobs import JobState
from bot.ports import ALL_JOBS
from bot.usecases import FoundPage, Ticket, UseCases
from tests.fakes import make_job, make_origin, make_person

ANN, BEN = make_person(id="ann"), make_person(id="ben")
JOBS = [make_job(owner="ann", state=JobState.DELIVERED) for _ in range(25)]


class History:
    """The jobs of one person; only the first three have favourites."""

    async def list_tickets(self, person, *, q="", only=ALL_JOBS, before=None, limit=20, state=None):
        mine = [job for job in JOBS if job.owner == person.id and not q][: 3 if only.favourite else None]
        start = [job.id for job in mine].index(before) + 1 if before else 0
        page = mine[start : start + limit]
        return [Ticket(job=job) for job in page], page[-1].id if page and len(mine) > start + limit else None

    async def get_job(self, job_id):
        return next(job for job in JOBS if job.id == job_id)


class Search:
    """Every job is found, the oldest first; `slow` is not looked for in pictures in time."""

    async def search(self, person, words, *, offset, limit, is_refined, wait_s):
        assert is_refined
        assert wait_s <= 3
        found = [job for job in reversed(JOBS) if job.owner == person.id]
        page = found[offset : offset + limit]
        following = page[-1].id if offset + limit < len(found) else None
        return FoundPage(
            tickets=[Ticket(job=job) for job in page], next=following, total=len(found), is_refined=words != "slow"
        )


def context(person: Any = ANN) -> ChatContext:
    history = History()
    return ChatContext(
        usecases=cast(UseCases, SimpleNamespace(jobs=history, chat=history, search=Search())),
        person=person,
        origin=make_origin(),
        style=TYPED,
        is_private=True,
        max_file_bytes=1,
    )


def shown(reply):
    return [button.encode() for button in reply.buttons if button.action == "show"]


def next_button(reply):
    return next((button for button in reversed(reply.buttons) if button.action == "history"), None)


async def press_next(reply):
    button = parse_button(next_button(reply).encode())
    assert button is not None
    return await run_command_button(context(), button)


async def test_each_page_has_a_button_for_each_job_and_one_for_the_next_page():
    first = await run_chat_command(context(), "history", {})
    second = await press_next(first)
    third = await press_next(second)

    assert [len(shown(one)) for one in (first, second, third)] == [10, 10, 5]
    assert next_button(first).encode() == f"v1:history:{JOBS[9].id}:2"
    assert shown(second)[0] == f"v1:show:{JOBS[10].id}"
    assert [button.label for button in second.buttons[:10]] == list(range(11, 21))
    assert [one.number for one in third.buttons if one.action == "history"] == [2]
    assert shown(await press_next(third)) == shown(second)
    assert shown(await run_command_button(context(), second.buttons[10])) == shown(first)
    assert shown(await run_chat_command(context(), "history", {"page": 2})) == shown(second)


async def test_nobody_turns_the_pages_of_somebody_else():
    first = await run_chat_command(context(), "history", {})

    with pytest.raises(NotYours):
        await run_command_button(context(BEN), next_button(first))


async def test_a_page_button_works_after_the_job_before_the_page_was_deleted(monkeypatch):
    first = await run_chat_command(context(), "history", {})
    second = shown(await press_next(first))

    async def get_job(_, job_id):
        raise JobNotFound(job_id)

    monkeypatch.setattr(History, "get_job", get_job)

    assert shown(await press_next(first)) == second


@pytest.mark.parametrize("search", ["Favourites", "favorites "])
async def test_favourites_are_a_history_of_their_own(search):
    reply = await run_chat_command(context(), "history", {"search": search})

    assert shown(reply) == [f"v1:show:{job.id}" for job in JOBS[:3]]
    assert "no favourites yet" in (await run_chat_command(context(BEN), "history", {"search": "favourites"})).text


async def test_words_find_what_has_or_shows_them_best_first_on_pages_by_number():
    first = await run_chat_command(context(), "history", {"search": "a hat"})
    third = await run_chat_command(context(), "history", {"search": "a hat", "page": 3})
    fourth = await run_chat_command(context(), "history", {"search": "a hat", "page": 4})

    assert shown(first) == [f"v1:show:{job.id}" for job in JOBS[:14:-1]]
    assert shown(third) == [f"v1:show:{job.id}" for job in JOBS[4::-1]]
    assert [button.label for button in third.buttons] == list(range(21, 26))
    assert "best first" in first.text
    assert "a hat" in first.text
    assert next_button(first) is None
    assert "no page 4" in fourth.text


async def test_nothing_that_others_have_is_found():
    reply = await run_chat_command(context(BEN), "history", {"search": "a hat"})

    assert (reply.text, reply.buttons) == ("None of your jobs has or shows these words.", ())


async def test_who_gets_words_alone_is_told_that_pictures_take_longer():
    slow = await run_chat_command(context(), "history", {"search": "slow"})
    quick = await run_chat_command(context(), "history", {"search": "a hat"})

    sentence = "I could not look at all of your pictures yet. Ask again in a moment."
    assert sentence in slow.text
    assert sentence not in quick.text
