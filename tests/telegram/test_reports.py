"""The button "Report" under results in groups: the person alone reads what came of it."""

import pytest

from bot.chat.reporting import CONFIRMATIONS
from tests.telegram.easel_fixture import has_button

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def press(app, message, data, who):
    return (await app.callback_answer(app.state.press(message, data, who))).get("text", "")


async def stored(app):
    page = await app.application.usecases.reports.list_reports("test", "open", before=None, limit=50)
    return page.items


async def test_a_result_in_a_group_is_reported_once_and_quietly(app, group, ann, bob):
    made = await app.imagine_and_wait(group, ann)
    button = app.state.button(made, "report")
    answers = [await press(app, made, button, bob) for _ in range(2)]

    assert answers == [CONFIRMATIONS["saved"], CONFIRMATIONS["known"]]
    assert all(len(answer) <= 200 for answer in CONFIRMATIONS.values())
    [report] = await stored(app)
    assert (report.reporter.name, report.picture) == ("Bob", None)
    assert made["reply_markup"]["inline_keyboard"][-1][-1]["text"] == "Report"


async def test_a_private_result_has_no_such_button_and_cannot_be_named_by_a_forged_one(app, chat, group, ann, bob):
    secret = await app.imagine_and_wait(chat, ann)
    own = await app.imagine_and_wait(group, bob)
    job = await app.application.usecases.chat.job_of_message(
        "telegram", f"{secret['chat']['id']}:{secret['message_id']}"
    )
    answer = await press(app, own, f"v1:report:{job.id}", bob)

    assert not has_button(secret, "report")
    assert "no longer works" in answer
    assert job.id not in [report.job.id for report in await stored(app)]
