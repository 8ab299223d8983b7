"""Events of a server itself: the bot is removed or added, its permissions change, threads open again, its own role."""

import asyncio
from typing import Any

import pytest

from adapters.discord import texts
from bot.ports import SpacePolicy
from tests.discord.app_fixture import DiscordApp
from tests.discord.loopback.discord_server_state import EVERYTHING, THREAD, Channel
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import a_photo

ROLE = 4242


def dispatch(server: Loopback, name: str, /, **data: Any) -> None:
    server.gateway.dispatch(name, data)


def role_of_bot(server: Loopback, permissions: int = EVERYTHING) -> dict[str, Any]:
    return {
        "id": str(ROLE), "name": "Easel", "permissions": str(permissions), "position": 1, "color": 0, "hoist": False,
        "managed": True, "mentionable": True, "flags": 0, "tags": {"bot_id": str(server.state.bot.id)},
    }  # fmt: skip


async def give_role(app: DiscordApp, ann: SimulatedUser) -> None:
    guild = ann.channel.guild
    assert guild is not None
    dispatch(app.server, "GUILD_ROLE_CREATE", guild_id=str(guild.id), role=role_of_bot(app.server))
    client = app.discord.context.client
    await until(lambda: client is not None and client.get_guild(guild.id).self_role, "the role")


def mention_role(ann: SimulatedUser, words: str, *files: Any) -> None:
    ann.write_message(f"<@&{ROLE}> {words}", *files, mention=False, extra={"mention_roles": [str(ROLE)]})


# ---------------------------------------------------------------- its own role


async def test_a_mention_of_the_bots_own_role_is_a_mention(app: DiscordApp, ann: SimulatedUser) -> None:
    app.server.state.may_read_content = True
    await give_role(app, ann)
    mention_role(ann, "what is it?", a_photo(app.server))

    assert "what is it?" in (await ann.finished()).content
    assert str(ROLE) not in ann.channel.from_bot[0].content


async def test_where_discord_hides_such_a_message_the_person_is_told_how_to_write(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    await give_role(app, ann)
    mention_role(ann, "what is it?", a_photo(app.server))

    assert (await ann.posted()).content == texts.MESSAGE_HIDDEN


async def test_a_mention_of_another_role_is_none(app: DiscordApp, ann: SimulatedUser) -> None:
    await give_role(app, ann)
    ann.write_message("<@&17> what is it?", mention=False, extra={"mention_roles": ["17"]})
    await asyncio.sleep(0.05)

    assert ann.channel.from_bot == []


# ---------------------------------------------------------------- removed, and added again


async def wait_for_result(app: DiscordApp, ann: SimulatedUser) -> str:
    """A job whose result no message can carry: the channel is closed, and so are the person's private messages."""
    ann.person.blocks_bot = True
    ann.slash("imagine", prompt="a slow fox", steps=10)
    placeholder = await ann.posted()
    job_id = placeholder.button("cancel").split(":")[2]
    ann.channel.permissions = 0
    app.pool.go_on.set()
    await until(lambda: any(one.status == 403 for one in app.server.state.calls), "a refusal")
    await asyncio.sleep(0.1)
    ann.channel.permissions = EVERYTHING
    return job_id


def added_again(app: DiscordApp, ann: SimulatedUser, thread: Channel) -> None:
    guild = ann.channel.guild
    assert guild is not None
    dispatch(app.server, "GUILD_DELETE", id=str(guild.id))
    dispatch(app.server, "GUILD_CREATE", **guild.json())


def new_overwrites(app: DiscordApp, ann: SimulatedUser, thread: Channel) -> None:
    overwrite = {"id": str(ann.channel.guild.id), "type": 0, "allow": str(EVERYTHING), "deny": "0"}
    dispatch(app.server, "CHANNEL_UPDATE", **{**ann.channel.json(), "permission_overwrites": [overwrite]})


def new_role(app: DiscordApp, ann: SimulatedUser, thread: Channel) -> None:
    everyone = {**ann.channel.guild.json()["roles"][0], "permissions": "8"}
    dispatch(app.server, "GUILD_ROLE_UPDATE", guild_id=str(ann.channel.guild.id), role=everyone)


def opened_thread(app: DiscordApp, ann: SimulatedUser, thread: Channel) -> None:
    closed = {**thread.json(), "thread_metadata": {**thread.json()["thread_metadata"], "locked": True}}
    dispatch(app.server, "THREAD_UPDATE", **closed)
    dispatch(app.server, "THREAD_UPDATE", **thread.json())


@pytest.mark.parametrize("event", [added_again, new_overwrites, new_role, opened_thread])
async def test_what_waited_is_posted_when_the_bot_may_write_again(
    app: DiscordApp, ann: SimulatedUser, event: Any
) -> None:
    thread = app.server.state.channel(kind=THREAD, parent=ann.channel)
    dispatch(app.server, "THREAD_CREATE", **thread.json())
    await wait_for_result(app, ann)
    event(app, ann, thread)

    message = await ann.finished()
    assert message.attachments


async def test_a_server_that_removed_the_bot_keeps_its_policy(app: DiscordApp, ann: SimulatedUser) -> None:
    guild = ann.channel.guild
    assert guild is not None
    await app.storage.spaces.set_policy("discord", str(guild.id), SpacePolicy(policy="block"))
    thread = app.server.state.channel(kind=THREAD, parent=ann.channel)
    added_again(app, ann, thread)
    ann.slash("imagine", prompt="a fox")

    await ann.finished()
    assert (await app.storage.spaces.get_policy("discord", str(guild.id))).policy == "block"


@pytest.mark.parametrize("name", ["CHANNEL_DELETE", "THREAD_DELETE", "GUILD_DELETE"])
async def test_what_is_deleted_while_a_job_runs_costs_nobody_the_result(
    app: DiscordApp, ann: SimulatedUser, name: str
) -> None:
    guild = ann.channel.guild
    assert guild is not None
    thread = app.server.state.channel(kind=THREAD, parent=ann.channel)
    dispatch(app.server, "THREAD_CREATE", **thread.json())
    there = ann.in_channel(thread if name == "THREAD_DELETE" else ann.channel)
    there.slash("imagine", prompt="a slow fox", steps=10)
    await there.posted()
    del app.server.state.channels[there.channel.id]
    dispatch(app.server, name, **(guild.json() if name == "GUILD_DELETE" else there.channel.json()))
    app.pool.go_on.set()

    assert (await ann.in_channel(app.server.state.dm(ann.person)).finished()).attachments
