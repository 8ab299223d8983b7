"""What is erased on the page or over REST goes from Discord as the Delete button removes it."""

import asyncio

import pytest
from sqlalchemy import func, select

from bot.queue import delivery
from storage.schema import outbox
from tests.discord.app_fixture import DiscordApp
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import imagine_and_wait, imagined_late, job_of

WHERE = select(outbox.c.target, outbox.c.refs).where(outbox.c.kind == "retract")
WAITING = select(func.count()).select_from(outbox).where(outbox.c.kind == "retract")


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "back_off_s", lambda tries: 0.01)
    monkeypatch.setattr(delivery, "refused_back_off_s", lambda tries: 0.01)


async def erase(app: DiscordApp, user: SimulatedUser, job_id: str) -> None:
    """Returns once nothing is left to be retracted."""
    await app.application.usecases.pictures.erase_job(await app.person(user.person.id), job_id)
    database = app.application.storage.jobs._database
    async with asyncio.timeout(30):
        while await database.run_read(lambda tx: tx.scalar(WAITING)):  # noqa: ASYNC110 - asked from outside
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("failure", [{}, {"how": 400}, {"how": 403, "code": 50013}], ids=["none", "unclear", "refused"])
async def test_every_message_of_an_erased_job_goes(
    app: DiscordApp, ann: SimulatedUser, failure: dict[str, int]
) -> None:
    app.server.fail("DELETE", "/channels/", 403, code=50013)
    _, made = await imagined_late(app, ann)
    job = await job_of(app, made)
    await until(lambda: not app.server.rest.faults, "the placeholder to stay")
    assert len(ann.channel.from_bot) == 2
    if failure:
        app.server.fail("DELETE", "/channels/", **failure)

    await erase(app, ann, job.id)

    assert ann.channel.from_bot == []


@pytest.mark.parametrize("count", [1, 2])
async def test_the_delete_button_reaches_the_messages_of_a_linked_account(
    app: DiscordApp, ann: SimulatedUser, count: int
) -> None:
    made = await imagine_and_wait(ann, count=count)
    job = await job_of(app, made)
    storage = app.application.storage
    await storage.outbox.remember_message(job.id, "telegram", "9:3", picture=0 if count == 1 else 2)

    pressed = f"v1:delete:{job.id}" if count == 1 else f"v1:delete:{job.id}:2"
    ann.press_unchecked(made, pressed)
    async with asyncio.timeout(30):
        while not (left := await storage.jobs._database.run_read(lambda tx: tx.execute(WHERE).all())):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    assert [tuple(row) for row in left] == [("telegram", ["9:3"])]


async def test_a_message_that_is_gone_is_not_waited_for(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann)
    job = await job_of(app, made)
    sent = len(app.server.state.sent("DELETE", "/channels/"))
    app.server.fail("DELETE", "/channels/", 404, code=10008)

    await erase(app, ann, job.id)

    assert len(app.server.state.sent("DELETE", "/channels/")) == sent + 1


async def test_a_running_jobs_message_goes_and_no_result_comes(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.slash("imagine", prompt="a slow fox", steps=50)
    job = await job_of(app, await ann.posted())

    await erase(app, ann, job.id)
    gone = list(ann.channel.from_bot)
    made = await imagine_and_wait(ann)

    assert gone == []
    assert ann.channel.from_bot == [made]
