"""/link on Telegram: only in a private chat, because a code that others see could link them."""

import re

import pytest

from tests.telegram.easel_fixture import text_of
from tests.telegram.test_talk import said

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def code_of(app, name):
    usecases = app.application.usecases
    return (await usecases.links.create_code(await usecases.people.named_person(name))).text


async def accounts_of(app, name):
    usecases = app.application.usecases
    return [one.platform for one in await usecases.links.list_accounts(await usecases.people.named_person(name))]


async def test_in_a_group_it_says_to_ask_in_private_and_gives_no_code(app, group, ann):
    told = await said(app, group, ann, "/link")

    assert "in private" in told
    assert not re.search(r"[0-9A-Z]{4}-[0-9A-Z]{4}", told)


async def test_a_code_that_a_group_has_seen_links_nobody(app, chat, group, ann):
    code = await code_of(app, "home 1")
    told = await said(app, group, ann, f"/link {code} yes")
    later = await said(app, chat, ann, f"/link {code} yes")

    assert "no longer works" in told
    assert "not valid" in later
    assert await accounts_of(app, "home 1") == ["web"]


async def test_a_code_is_given_in_private(app, chat, ann):
    assert re.search(r"[0-9A-Z]{4}-[0-9A-Z]{4}", await said(app, chat, ann, "/link"))


async def test_a_code_links_after_the_button_under_what_would_be_linked(app, chat, ann, bob):
    code = await code_of(app, "home 2")
    await app.imagine_and_wait(chat, ann, "a fox of the chat")
    app.state.send_message(chat, ann, f"/link {code.lower()}")
    question = await app.message_with(chat, "home 2", 2)
    accept = f"own:link:{code.replace('-', '')}"
    await app.callback_answer(app.state.press(question, accept, bob))
    before = await accounts_of(app, "home 2")
    told = await app.callback_answer(app.state.press(question, accept, ann))
    home = await app.application.usecases.people.named_person("home 2")
    tickets, _ = await app.application.usecases.jobs.list_tickets(home, limit=5)

    assert before == ["web"]
    assert "now linked" in str(told)
    assert await accounts_of(app, "home 2") == ["telegram", "web"]
    assert [ticket.job.options["prompt"] for ticket in tickets] == ["a fox of the chat"]


async def test_an_account_leaves_after_a_question(app, chat, ann):
    await said(app, chat, ann, f"/link {await code_of(app, 'home 3')} yes")
    app.state.send_message(chat, ann, "/link remove")
    question = await app.message_with(chat, "home 3", 2)
    await app.callback_answer(app.state.press(question, "own:unlink", ann))

    assert "start over" in text_of(question)
    assert await accounts_of(app, "home 3") == ["web"]
