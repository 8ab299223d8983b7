"""What is erased on the page or over REST goes from Telegram as the Delete button removes it."""

import asyncio

import pytest
from sqlalchemy import func, select

from bot.queue import delivery
from storage.schema import outbox
from tests.telegram.test_buttons import job_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAITING = select(func.count()).select_from(outbox).where(outbox.c.kind == "retract")


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(delivery, "back_off_s", lambda tries: 0.01)
    monkeypatch.setattr(delivery, "refused_back_off_s", lambda tries: 0.01)


async def erase(app, job):
    """Returns once nothing is left to be retracted."""
    person = await app.application.usecases.people.identify_account("telegram", job.origin.account_id, "Ann")
    await app.application.usecases.pictures.erase_job(person, job.id)
    database = app.application.storage.jobs._database
    async with asyncio.timeout(30):
        while await database.run_read(lambda tx: tx.scalar(WAITING)):  # noqa: ASYNC110 - asked from outside
            await asyncio.sleep(0.02)


async def test_the_messages_of_an_erased_job_go(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann, "a fox --count 2")
    app.state.press(made, app.state.button(made, "original"), ann)
    await app.until(lambda: len(app.state.bot_messages(chat)) == 3)
    await app.wait_until_idle(0.1)
    await erase(app, await job_of(app, made))

    assert app.state.bot_messages(chat) == []


async def test_what_telegram_no_longer_deletes_is_emptied(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    job = await job_of(app, made)
    app.state.current(made)["is_old"] = True
    await erase(app, job)

    [emptied] = app.state.bot_messages(chat)
    assert emptied["caption"] == "Deleted."
    assert emptied["message_id"] == made["message_id"]
    assert "reply_markup" not in emptied


async def test_a_message_deleted_by_hand_is_not_waited_for(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    job = await job_of(app, made)
    await app.server.methods.deleteMessage({"chat_id": chat["id"], "message_id": made["message_id"]}, {})
    await erase(app, job)

    assert app.state.bot_messages(chat) == []
