"""Events of a server itself: the bot is removed or added, its permissions change, threads open again, its own role."""

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, call

import pytest

from adapters.discord import texts
from adapters.discord.client import EaselClient, mentions_own_role
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


@pytest.mark.parametrize("event", [added_again])
async def test_what_waited_is_posted_when_the_bot_may_write_again(
    app: DiscordApp, ann: SimulatedUser, event: Any
) -> None:
    thread = app.server.state.channel(kind=THREAD, parent=ann.channel)
    dispatch(app.server, "THREAD_CREATE", **thread.json())
    guild = str(ann.channel.guild.id) if ann.channel.guild else ""
    await app.storage.spaces.set_policy("discord", guild, SpacePolicy(policy="spoiler"))
    await wait_for_result(app, ann)
    event(app, ann, thread)

    assert (await ann.finished()).attachments
    assert (await app.storage.spaces.get_policy("discord", guild)).policy == "spoiler"


@pytest.mark.parametrize("name", ["GUILD_DELETE"])
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


# ---------------------------------------------------------------- where it may write again


def place(**more: Any) -> Any:
    return SimpleNamespace(guild=SimpleNamespace(id=5), **more)


@pytest.mark.parametrize(
    ("event", "before", "after", "is_retried"),
    [
        ("on_guild_role_update", {"permissions": 0}, {"permissions": 8}, True),
        ("on_guild_role_update", {"permissions": 8}, {"permissions": 8}, False),
        ("on_guild_channel_update", {"overwrites": {}}, {"overwrites": {1: 2}}, True),
        ("on_guild_channel_update", {"overwrites": {1: 2}}, {"overwrites": {1: 2}}, False),
        ("on_thread_update", {"locked": True, "archived": True}, {"locked": False, "archived": False}, True),
        ("on_thread_update", {"locked": False, "archived": False}, {"locked": True, "archived": True}, False),
    ],
)
async def test_a_change_that_lets_the_bot_write_sends_what_waited(
    event: str, before: dict[str, Any], after: dict[str, Any], is_retried: bool
) -> None:
    chat = AsyncMock()
    client: Any = SimpleNamespace(context=SimpleNamespace(usecases=SimpleNamespace(chat=chat)))
    client._retry_deliveries = partial(EaselClient._retry_deliveries, client)
    await getattr(EaselClient, event)(client, place(**before), place(**after))

    assert chat.retry_deliveries.await_args_list == ([call("discord", "5")] if is_retried else [])


@pytest.mark.parametrize("is_closed", [True, False])
async def test_a_thread_that_is_opened_again_gets_what_waited(is_closed: bool) -> None:
    chat = AsyncMock()
    client: Any = SimpleNamespace(context=SimpleNamespace(usecases=SimpleNamespace(chat=chat)))
    client._retry_deliveries = partial(EaselClient._retry_deliveries, client)
    await EaselClient.on_thread_join(client, place(locked=is_closed, archived=is_closed))

    assert chat.retry_deliveries.await_count == (not is_closed)


@pytest.mark.parametrize("is_ready", [True, False], ids=["after an outage", "while it connects"])
async def test_a_server_that_is_available_again_gets_what_waited(is_ready: bool) -> None:
    chat = AsyncMock()
    client: Any = SimpleNamespace(context=SimpleNamespace(usecases=SimpleNamespace(chat=chat)))
    client.is_ready, client._retry_deliveries = lambda: is_ready, partial(EaselClient._retry_deliveries, client)
    await EaselClient.on_guild_available(client, place().guild)

    assert chat.retry_deliveries.await_count == is_ready


@pytest.mark.parametrize(("mentioned", "is_own"), [(["own"], True), (["other"], False), ([], False)])
def test_only_its_own_role_is_the_bot(mentioned: list[str], is_own: bool) -> None:
    message: Any = SimpleNamespace(guild=SimpleNamespace(self_role="own"), role_mentions=mentioned)

    assert mentions_own_role(message) is is_own
