"""One-time codes as people type them, and how many wrong ones an account may try."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from bot.problem_texts.link_problems import LinkRefused, TooManyCodes
from bot.settings.core import QuotaSettings
from bot.usecases.access import AccessWatch
from bot.usecases.account_links import ALPHABET, MAX_WRONG_CODES, WRONG_CODES_S, CodeAttempts, LinkUseCases, parse_code
from tests.fakes import Fake, FakeJobStore, FakePrivacy, make_person


class FakeLinks(Fake):
    """Knows one code, by its hash."""

    known = ""

    async def add_code(self, person_id, code_hash, expires_at):
        self._begin("add_code", person=person_id, code_hash=code_hash, expires_at=expires_at)
        self.known = code_hash

    async def revoke_code(self, code_hash):
        self._begin("revoke_code", code_hash=code_hash)

    async def preview(self, person_id, code_hash, default_s):
        self._begin("preview", code_hash=code_hash)
        await asyncio.sleep(0)
        if code_hash != self.known:
            raise LinkRefused("wrong_code")
        return SimpleNamespace(emptied="other", kept=person_id, accounts=())

    link = preview


@pytest.fixture
def links():
    people: Any = SimpleNamespace(access=AccessWatch(), privacy=FakePrivacy(FakeJobStore()))
    known: Any = FakeLinks()
    return LinkUseCases(known, people, QuotaSettings())


@pytest.mark.parametrize(
    "typed", ["7K4M-Q2XP", "7k4m-q2xp", " 7K4M Q2XP ", "7K4MQ2XP", "7k4m\u2013q2xp", "7-K-4-M-Q-2-X-P"]
)
def test_a_code_is_read_as_people_type_it(typed):
    assert parse_code(typed) == "7K4MQ2XP"


def test_letters_that_look_like_digits_are_those_digits():
    assert parse_code("oOiI-lL00") == "00111100"


@pytest.mark.parametrize("typed", ["", "7K4M-Q2X", "7K4M-Q2XPP", "7K4M-Q2XU", "\u00dc" * 8, "\uff17" * 8, "x" * 10_000])
def test_what_is_no_code_is_refused_without_counting(typed):
    with pytest.raises(LinkRefused, match="code_form"):
        parse_code(typed)


async def test_a_code_has_40_random_bits_lasts_ten_minutes_and_is_stored_as_a_hash(links):
    codes = {(await links.create_code(make_person())).text for _ in range(50)}
    last = await links.create_code(make_person())
    stored = links.links.called("add_code")[-1]

    assert len(ALPHABET) ** 8 == 2**40
    assert len(codes) == 50
    assert timedelta(minutes=9) < last.expires_at - datetime.now(UTC) <= timedelta(minutes=10)
    assert len(stored.code_hash) == 64
    assert last.text.replace("-", "") not in str(vars(stored))


async def test_wrong_codes_are_bounded_for_each_account_also_at_the_same_time(links):
    right = (await links.create_code(make_person())).text
    tries = (links.preview(make_person(), "telegram:1", f"0000-{n:04d}") for n in range(100))
    problems = [type(one) for one in await asyncio.gather(*tries, return_exceptions=True)]

    assert problems.count(LinkRefused) == MAX_WRONG_CODES
    assert problems.count(TooManyCodes) == 100 - MAX_WRONG_CODES
    with pytest.raises(TooManyCodes) as refused:
        await links.link(make_person(), "telegram:1", right)
    assert WRONG_CODES_S - 60 < refused.value.retry_after_s <= WRONG_CODES_S + 1
    assert await links.link(make_person(), "telegram:2", right)


async def test_right_codes_and_other_refusals_do_not_count(links):
    right = (await links.create_code(make_person())).text
    for _ in range(3 * MAX_WRONG_CODES):
        await links.preview(make_person(), "telegram:1", right)
    for _ in range(3 * MAX_WRONG_CODES):
        links.links.failures["preview"] = [LinkRefused("open_jobs")]
        with pytest.raises(LinkRefused):
            await links.preview(make_person(), "telegram:1", right)

    assert await links.link(make_person(), "telegram:1", right)


async def test_an_attempt_that_is_given_up_counts(links):
    for _ in range(MAX_WRONG_CODES):
        attempt = asyncio.ensure_future(links.preview(make_person(), "web:k", "0000-0000"))
        await asyncio.sleep(0)
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)

    with pytest.raises(TooManyCodes):
        await links.preview(make_person(), "web:k", "0000-0000")


async def test_what_is_open_as_the_person_who_is_empty_now_ends(links):
    code = (await links.create_code(make_person())).text
    with links.people.access.watch("other") as emptied, links.people.access.watch("ann") as kept:
        await links.link(make_person(), "telegram:1", code)

    assert (emptied.is_set(), kept.is_set()) == (True, False)
    assert [call.person for call in links.people.privacy.called("delete_exports_of")] == ["other"]


def test_after_an_hour_an_account_may_try_again(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("bot.usecases.account_links.time.monotonic", lambda: now[0])
    attempts = CodeAttempts()
    for _ in range(MAX_WRONG_CODES):
        attempts.begin("discord:1")
        now[0] += 1
    with pytest.raises(TooManyCodes):
        attempts.begin("discord:1")
    now[0] = WRONG_CODES_S

    assert attempts.begin("discord:1")


async def test_what_is_no_code_revokes_nothing(links):
    await links.revoke_code("hello there")
    await links.revoke_code("7k4m q2xp")

    assert len(links.links.called("revoke_code")) == 1
