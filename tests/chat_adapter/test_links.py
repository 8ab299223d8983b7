"""/link through a platform that only registers itself: what is said, asked and done is the same on all."""

import re

import pytest

from bot.jobs import Origin
from tests.chat_adapter.conftest import LineApp

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def web_code(app: LineApp, name: str) -> str:
    person = await app.application.usecases.people.people.person_named(name)
    return (await app.application.usecases.links.create_code(person)).text


def code_in(text: str) -> str:
    found = re.search(r"[0-9A-Z]{4}-[0-9A-Z]{4}", text)
    assert found is not None
    return found.group()


async def person_of(app: LineApp, account: str):
    return await app.application.usecases.people.identify_account("lines", account, account)


async def test_a_code_is_given_and_typed_on_the_other_side(app: LineApp) -> None:
    usecases = app.application.usecases
    told = await app.chat.receive("lia", "/link")
    code = code_in(told)
    other = await usecases.people.people.person_named("lia at home")
    await usecases.links.link(other, "web:key", code)

    assert "10 minutes" in told
    assert (await person_of(app, "lia")).id == (await usecases.people.people.person_named("lia at home")).id
    assert "Linked accounts: " in await app.chat.receive("lia", "/link")


@pytest.mark.parametrize("way", ["press", "yes", "--confirm"])
async def test_a_code_from_elsewhere_is_shown_before_it_links(app: LineApp, way: str) -> None:
    account = f"mia{len(way)}"
    code = await web_code(app, f"home of {account}")
    question = await app.chat.receive(account, f"/link {code.lower()}")
    before = await person_of(app, account)
    if way == "press":
        done = await app.chat.press(account, f"own:link:{code.replace('-', '')}")
    else:
        done = await app.chat.receive(account, f"/link {code} {way}")

    assert f"home of {account}" in question
    assert "see and delete everything" in question
    assert f"[own:link:{code.replace('-', '')}]" in question
    assert "now linked" in done
    assert {one.platform for one in await app.application.usecases.links.list_accounts(before)} == {"lines", "web"}


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("0000-0000", "not valid"),
        ("0000-0000 yes", "not valid"),
        ("hello", "eight letters and digits"),
        ("yes", "eight letters and digits"),
        ("remove", "not linked to another"),
        ("remove yes", "not linked to another"),
    ],
)
async def test_what_cannot_be_is_answered_with_a_sentence(app: LineApp, typed: str, answer: str) -> None:
    assert answer in await app.chat.receive("noa", f"/link {typed}")


async def test_ones_own_code_and_a_used_one_are_refused(app: LineApp) -> None:
    own = code_in(await app.chat.receive("ola", "/link"))
    code = await web_code(app, "home of ola")
    told = await app.chat.receive("ola", f"/link {own}")
    await app.chat.receive("ola", f"/link {code} yes")

    assert "your own code" in told
    assert "not valid" in await app.chat.receive("pia", f"/link {own}")
    assert "already linked" in await app.chat.receive("ola", f"/link {code} yes")
    assert "already been used" in await app.chat.receive("pia", f"/link {code} yes")


async def test_an_account_leaves_after_a_question_and_starts_anew(app: LineApp) -> None:
    await app.chat.receive("rea", f"/link {await web_code(app, 'home of rea')} yes")
    await app.finished("rea", "/imagine a quiet harbour")
    question = await app.chat.receive("rea", "/link remove")
    kept = await app.chat.press("rea", "own:keep")
    told = await app.chat.press("rea", "own:unlink")

    assert "home of rea" in question
    assert "[own:unlink]" in question
    assert kept == ""
    assert "no longer linked" in told
    assert "no jobs yet" in await app.chat.receive("rea", "/history")
    home = await app.application.usecases.people.people.person_named("home of rea")
    assert (await app.application.usecases.jobs.list_tickets(home, limit=5))[0]


async def test_forget_names_every_linked_account_first(app: LineApp) -> None:
    await app.chat.receive("sia", f"/link {await web_code(app, 'home of sia')} yes")
    question = await app.chat.receive("sia", "/privacy forget")
    refused = [await app.chat.press("sia", "own:forget"), await app.chat.receive("sia", "/privacy forget --confirm")]
    linked = await app.application.usecases.links.list_accounts(await person_of(app, "sia"))
    await app.chat.press("sia", "own:forget.all")

    assert all("are deleted together" in one for one in refused)
    assert len(linked) == 2
    assert "all your linked accounts" in question
    assert "home of sia" in question
    assert len(await app.application.usecases.links.list_accounts(await person_of(app, "sia"))) == 1


async def test_linking_with_an_admin_or_the_local_person_makes_nobody_an_admin(app: LineApp) -> None:
    usecases = app.application.usecases
    local = await usecases.people.local_person()
    code = (await usecases.links.create_code(local)).text
    await app.chat.receive("tia", f"/link {code} yes")
    person = await person_of(app, "tia")

    assert person.id == local.id
    assert "admins" in (await app.chat.receive("tia", "/admin policy block")).casefold()
    origin = Origin(platform="lines", space_id="tia", account_id="tia")
    assert not await usecases.moderation._is_local_person(origin)
    await usecases.links.unlink(local, "lines")


@pytest.mark.parametrize("data", ["own:link:", "own:link:7K4M-Q2XP", "own:link:UUUUUUUU", "own:link:7k4mq2xp", "own:x"])
async def test_a_forged_button_links_nothing(app: LineApp, data: str) -> None:
    assert "no longer" in await app.chat.press("uma", data) or "expired" in await app.chat.press("uma", data)
