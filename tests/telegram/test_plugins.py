"""Plugins' commands and replies on Telegram."""

import pytest
import pytest_asyncio

from tests.plugins.chat_plugin import chat_plugin, switch_chat_plugin
from tests.plugins.plugin_fixture import until
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def plugin(app):
    async with chat_plugin(app.application):
        yield


async def test_a_command_of_a_plugin_draws_in_a_group_without_naming_the_bot(app, group, ann):
    app.state.send_message(group, ann, "/poster Jazz night")
    await app.finished_picture(group)

    assert "a poster Jazz night" in [task.options.get("prompt") for task in app.pool.tasks]


async def test_a_command_of_a_plugin_is_answered_with_a_text(app, chat, ann):
    app.state.send_message(chat, ann, "/dice --sides 20")

    assert (await app.bot_message(chat))["text"] == "telegram rolled 20."


async def test_a_command_of_a_plugin_takes_the_photo_that_it_came_with(app, chat, ann):
    app.state.send_photo(chat, ann, picture(3, 48, 32), caption="/redraw")
    await app.finished_picture(chat)

    drawn = [task for task in app.pool.tasks if task.options.get("prompt") == "again"]
    assert [image.role for image in drawn[-1].images] == ["init"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("/poster no", "No posters today."),
        ("/poster", "title is required."),
        ("/poster x --mood sad", "mood cannot be “sad”."),
        ("/dice --sides many", "sides is “many”, but must be a whole number."),
    ],
)
async def test_a_command_of_a_plugin_that_is_refused_says_why(app, chat, ann, line, sentence):
    app.state.send_message(chat, ann, line)

    assert sentence in (await app.bot_message(chat))["text"]


async def test_help_lists_the_commands_of_plugins(app, chat, ann):
    app.state.send_message(chat, ann, "/help")

    assert "A poster from a title" in (await app.bot_message(chat))["text"]


async def test_the_menu_follows_when_a_plugin_is_switched(app):
    def menu():
        return {one["command"] for one in app.server.methods.commands["default:"]}

    await until(lambda: "poster" in menu())
    await switch_chat_plugin(app.application, is_enabled=False)
    await until(lambda: "poster" not in menu())
    await switch_chat_plugin(app.application, is_enabled=True)
    await until(lambda: "poster" in menu())


async def test_a_plugin_answers_a_message_that_is_no_command(app, chat, ann):
    app.state.send_message(chat, ann, "Hello there")

    assert (await app.bot_message(chat))["text"] == "Hello, telegram True!"


async def test_what_no_plugin_wants_to_answer_is_answered_as_before(app, chat, ann):
    app.state.send_message(chat, ann, "a fox in the snow")

    assert "Hello" not in (await app.bot_message(chat))["text"]
