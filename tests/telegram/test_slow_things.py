"""One slow thing of a person never holds their other commands and buttons."""

import asyncio
import time

import pytest

from adapters.telegram import bot_api, buttons, update_handler
from bot.errors import ImageGone
from tests.telegram.easel_fixture import text_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    assert update_handler.TURN_WAIT_S < 3
    assert buttons.ANSWER_WITHIN_S < 3
    monkeypatch.setattr(update_handler, "TURN_WAIT_S", 0.15)
    monkeypatch.setattr(buttons, "ANSWER_WITHIN_S", 0.15)
    monkeypatch.setattr(bot_api, "DOWNLOAD_RETRY_S", 0.005)


async def test_a_photo_that_does_not_come_holds_no_command_and_no_button(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    hangs = asyncio.Event()
    slow = app.server.fail(method="getFile", times=10, status=200, until=hangs)
    app.state.send_photo(chat, ann, picture(91, 40, 40), "what is it?")
    await app.until(lambda: slow.hits)
    began = time.monotonic()
    app.state.send_message(chat, ann, "/models")
    pressed = app.state.press(made, app.state.button(made, "reroll"), ann)

    await app.callback_answer(pressed)
    await app.until(lambda: any("paint" in one.get("text", "") for one in app.state.bot_messages(chat)))

    assert time.monotonic() - began < 15
    hangs.set()
    await app.until(lambda: any("It is" in text_of(one) for one in app.state.bot_messages(chat)))


async def test_a_file_that_is_refused_does_not_leave_its_button_spinning(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    hangs = asyncio.Event()
    app.server.fail(method="sendDocument", chat=chat["id"], times=10, status=200, until=hangs)
    pressed = app.state.press(made, app.state.button(made, "original"), ann)

    assert "text" not in await app.callback_answer(pressed)

    hangs.set()
    await app.until(lambda: any("document" in one for one in app.state.bot_messages(chat)))


async def test_a_press_that_is_refused_late_is_explained_in_a_message(app, chat, ann, monkeypatch):
    made = await app.imagine_and_wait(chat, ann)

    async def slow(*_arguments):
        await asyncio.sleep(0.3)
        raise ImageGone

    monkeypatch.setattr(buttons.ButtonHandler, "_send_originals", slow)
    pressed = app.state.press(made, app.state.button(made, "original"), ann)

    assert "text" not in await app.callback_answer(pressed)
    assert await app.bot_message(chat, 2)


@pytest.mark.parametrize("page", [None, "<html>Access denied</html>"])
async def test_a_photo_that_can_never_be_fetched_is_tried_a_few_times_and_said(app, chat, ann, page):
    broken = app.server.fail(method="file", status=502 if page is None else 403, page=page, times=1000)
    app.state.send_photo(chat, ann, picture(92 if page else 93, 40, 40), "what is it?")

    await app.message_with(chat, "couldn't download the picture")

    assert broken.hits == bot_api.DOWNLOAD_TRIES


async def test_a_reply_that_is_refused_in_unknown_words_is_tried_a_few_times(app, chat, ann):
    refused = app.server.fail(
        method="sendMessage", chat=chat["id"], status=400, description="Bad Request: NEW", times=99
    )
    app.state.send_message(chat, ann, "/models")
    await app.wait_until_idle(0)

    assert 3 <= refused.hits <= 10
