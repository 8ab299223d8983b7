"""The earlier questions and answers that a question continues."""

from dataclasses import replace
from typing import Any

import pytest

from bot.errors import Blocked, JobNotFound
from bot.jobs import ImageRef, JobState, Result
from bot.models import VISUAL_QUESTION_ANSWERING
from bot.queue import threads
from bot.queue.threads import ThreadReader
from tests.fakes import make_job, make_origin

PHOTO, OTHER = ImageRef("a" * 64), ImageRef("b" * 64)
CHAT = make_origin(platform="discord", space_id="guild", chat_id="5")


def question(number, *, parent=None, text="", answer="yes", **overrides):
    plain = {
        "id": f"job{number}",
        "command": "ask",
        "task": VISUAL_QUESTION_ANSWERING,
        "options": {"question": text or f"question {number}?"},
        "images": (PHOTO,),
        "parent": f"job{number - 1}" if parent is None and number > 1 else parent,
        "state": JobState.DELIVERED,
        "result": Result(text=f"{answer} {number}") if answer else None,
    }
    return make_job(**{**plain, **overrides})


class Store:
    def __init__(self, *jobs):
        self.jobs = {job.id: job for job in jobs}

    async def get_job(self, job_id, owner):
        assert owner is None
        if job_id not in self.jobs:
            raise JobNotFound(job_id)
        return self.jobs[job_id]


class Words:
    blocked = "forbidden"

    async def check_words(self, _account_id, text):
        if self.blocked in text:
            raise Blocked("words")


async def numbers_of(*earlier, job):
    """The numbers of the questions in the thread."""
    store: Any = Store(*earlier)
    turns = await ThreadReader(store=store, words=Words()).read_thread(job)
    assert all(set(turn) == {"question", "answer"} for turn in turns)
    return [int(turn["answer"].split()[-1]) for turn in turns]


async def test_a_thread_has_the_questions_and_answers_before_this_one_oldest_first():
    store: Any = Store(question(1), question(2))

    turns = await ThreadReader(store=store, words=Words()).read_thread(question(3))

    assert turns == [
        {"question": "question 1?", "answer": "yes 1"},
        {"question": "question 2?", "answer": "yes 2"},
    ]


@pytest.mark.parametrize(
    ("earlier", "job", "numbers"),
    [
        ([], question(1), []),
        ([question(1)], replace(question(2), command="caption"), []),
        ([replace(question(1), command="caption")], question(2), []),
        ([question(1), question(2, images=(OTHER,))], question(3), []),
        ([question(1), question(2)], question(3, images=(OTHER, PHOTO)), [1, 2]),
        ([question(1), question(2, owner="bob")], question(3), []),
        ([question(1), question(2, owner="bob", origin=CHAT)], question(3, origin=CHAT), [1, 2]),
        ([question(1, owner="bob"), question(2, origin=CHAT)], question(3, origin=CHAT), [2]),
        ([question(2)], question(3), [2]),
        ([question(1), question(2, answer="")], question(3), [1]),
        ([question(1), question(2, text="again?")], question(3, text="again?"), [1]),
        ([question(1, text="forbidden?"), question(2)], question(3), [2]),
        ([question(1), question(2, answer="forbidden")], question(3), []),
        ([question(1, parent="job3"), question(2)], question(3), [1, 2]),
    ],
    ids=[
        "first", "no question", "of a caption", "other images", "more images", "another person", "same chat",
        "another person elsewhere", "erased", "never answered", "asked again", "blocked word", "blocked answer",
        "circle",
    ],
)  # fmt: skip
async def test_what_is_not_of_the_conversation_or_not_the_persons_is_left_out(earlier, job, numbers):
    assert await numbers_of(*earlier, job=job) == numbers


PRIVATE = make_origin(platform="discord", space_id="dm:ann", chat_id="9")


@pytest.mark.parametrize(("origin", "numbers"), [(CHAT, [2]), (PRIVATE, [1, 2]), (make_origin(), [1, 2])])
async def test_what_was_asked_in_private_is_not_told_where_others_read_along(origin, numbers):
    """Ann shows her second question in a chat, and asks on there: the first was not shown."""
    asked = [question(1, origin=PRIVATE), question(2, origin=PRIVATE)]

    assert await numbers_of(*asked, job=question(3, origin=origin)) == numbers


async def test_only_the_newest_turns_and_characters_are_kept(monkeypatch):
    asked = [question(number) for number in range(1, 12)]

    assert await numbers_of(*asked, job=question(12)) == list(range(4, 12))
    monkeypatch.setattr(threads, "MAX_CHARACTERS", 2 * len("question 9?yes 9") + 5)
    assert await numbers_of(*asked[:9], job=question(10)) == [8, 9]
