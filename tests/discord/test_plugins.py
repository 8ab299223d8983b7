"""Plugins' commands and replies on Discord."""

import pytest

from tests.discord.app_fixture import open_app
from tests.discord.simulated_users import until
from tests.plugins.chat_plugin import chat_plugin, switch_chat_plugin


@pytest.fixture
async def app(data_dir, server):
    """Its plugin is on when the commands are registered."""
    async with open_app(data_dir, server) as made, chat_plugin(made.application):
        made.start()
        await made.wait_until_ready()
        yield made


async def test_commands_of_plugins_are_slash_commands(app, server, ann):
    listed = {one["name"]: one for one in server.state.commands}
    ann.slash("poster", title="Jazz night", mood="wild")
    message = await ann.finished()
    rolled = ann.slash("dice", sides=20)

    assert await ann.private_reply(rolled) == "discord rolled 20."
    assert "a poster Jazz night" in message.content
    assert listed["poster"]["description"] == "A poster from a title"
    options = {one["name"]: one for one in listed["poster"]["options"]}
    assert list(options) == ["title", "mood"]
    assert options["title"]["required"]
    assert [one["value"] for one in options["mood"]["choices"]] == ["calm", "wild"]
    assert [one["name"] for one in listed["redraw"]["options"]] == ["image"]


async def test_discord_learns_when_a_plugin_is_switched(app, server):
    await switch_chat_plugin(app.application, is_enabled=False)
    await until(lambda: "poster" not in names(server), "the list without the plugin's commands")
    await switch_chat_plugin(app.application, is_enabled=True)
    await until(lambda: "poster" in names(server), "the list with them")


def names(server):
    return {one["name"] for one in server.state.commands}


async def test_a_plugin_refuses_and_answers_in_words(app, server, ann):
    refused = ann.slash("poster", title="no")
    assert await ann.private_reply(refused) == "No posters today."

    ann.write_message("hello")
    assert (await ann.posted()).content == "Hello, discord False!"
