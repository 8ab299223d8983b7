"""An event that the library cannot read is dropped alone: the session is kept, and nothing else is lost."""

import random
from typing import Any

import pytest

from adapters.discord import library_patches
from tests.discord.app_fixture import DiscordApp, open_app
from tests.discord.loopback.server import Loopback
from tests.discord.mutated_events import MISSING, mutate, mutated_events, real_events
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import a_photo, imagine_and_wait

CORPUS: list[tuple[str, tuple[Any, ...], Any]] = [
    ("MESSAGE_CREATE", ("attachments", 0, "url"), MISSING),
    ("MESSAGE_CREATE", ("attachments", 0), None),
    ("MESSAGE_CREATE", ("attachments",), 7),
    ("MESSAGE_CREATE", ("author",), MISSING),
    ("MESSAGE_CREATE", ("channel_id",), "somewhere"),
    ("MESSAGE_CREATE", ("message_snapshots", 0, "message"), None),
    ("MESSAGE_CREATE", ("referenced_message", "attachments", 0, "url"), MISSING),
    ("MESSAGE_CREATE", ("mentions", 0), {}),
    ("INTERACTION_CREATE", ("data", "resolved", "attachments"), [7]),
    ("INTERACTION_CREATE", ("token",), MISSING),
    ("INTERACTION_CREATE", ("data",), None),
    ("INTERACTION_CREATE", ("member", "user"), MISSING),
    ("GUILD_CREATE", ("roles", 0, "id"), None),
    ("GUILD_CREATE", ("channels",), 7),
    ("CHANNEL_CREATE", ("guild_id",), []),
    ("THREAD_CREATE", ("thread_metadata",), MISSING),
    ("GUILD_ROLE_CREATE", ("role",), None),
]


async def test_no_event_of_the_corpus_costs_the_session_or_another_command(
    app: DiscordApp, server: Loopback, ann: SimulatedUser
) -> None:
    events = dict(real_events(ann))
    for name, path, wrong in CORPUS:
        server.gateway.dispatch(name, mutate(events[name], path, wrong))

    assert (await imagine_and_wait(ann)).attachments
    assert server.gateway.log == ["identify"]


async def test_mutated_events_cost_no_session(app: DiscordApp, server: Loopback, ann: SimulatedUser) -> None:
    for name, body in mutated_events(ann, 60, random.Random(16)):
        server.gateway.dispatch(name, body)

    ann.slash("imagine", prompt="a sentinel")
    await until(lambda: any("sentinel" in one.content for one in ann.channel.from_bot), "the command")
    assert server.gateway.log == ["identify"]


async def test_a_command_whose_picture_cannot_be_read_is_answered(app: DiscordApp, ann: SimulatedUser) -> None:
    photo = a_photo(app.server)
    body = photo.json()
    del body["url"]
    data = {"id": "1", "name": "caption", "type": 1, "options": [{"name": "image", "type": 11, "value": body["id"]}]}

    asked = ann._send(2, {**data, "resolved": {"attachments": {body["id"]: body}}})

    assert "went wrong" in await ann.private_reply(asked)


async def test_frames_that_cannot_be_read_are_dropped(app: DiscordApp, server: Loopback, ann: SimulatedUser) -> None:
    connection = server.gateway.connected[0].connection
    assert connection is not None
    for frame in ("not json", "7", '{"op": "x"}', '{"op": 0, "t": "GUILD_CREATE", "d": 7}', '{"op": 9, "d": {}'):
        await connection.socket.send_str(frame)

    assert (await imagine_and_wait(ann)).attachments
    assert server.gateway.log == ["identify"]


async def test_a_broken_stream_is_resumed(
    app: DiscordApp, server: Loopback, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_patches, "BROKEN_STREAM_WAIT_S", 0.0)
    connection = server.gateway.connected[0].connection
    assert connection is not None
    await connection.socket.send_bytes(b"no zlib \x00\x00\xff\xff")
    ann.slash("imagine", prompt="a red fox")

    await ann.finished()

    assert server.gateway.log == ["identify", "resume"]


async def test_a_server_whose_details_cannot_be_read_is_still_known(
    data_dir: Any, server: Loopback, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    guild = ann.channel.guild
    assert guild is not None
    whole = guild.json()
    monkeypatch.setattr(guild, "json", lambda: {**whole, "emojis": [{"id": None}], "stickers": [7], "roles": [7]})
    async with open_app(data_dir, server) as app:
        app.start()
        await app.wait_until_ready()

        assert app.discord.context.client is not None
        assert app.discord.context.client.get_channel(ann.channel.id) is not None


async def test_a_message_of_an_unknown_server_is_not_private(app: DiscordApp, ann: SimulatedUser) -> None:
    """Its server's event was dropped: other people's conversation there is still not for the bot."""
    client = app.discord.context.client
    assert client is not None
    client._connection._remove_guild(client.guilds[0])
    ann.write_message("talking to others", mention=False)
    made = ann.write_message("what is it?", a_photo(app.server))

    await ann.finished()

    assert [one.reply_to for one in ann.channel.from_bot] == [made.id]


async def test_a_stored_event_that_cannot_be_read_does_not_stop_the_others(
    data_dir: Any, server: Loopback, ann: SimulatedUser
) -> None:
    async with open_app(data_dir, server) as app:
        await app.storage.inbox.save_event("discord", "interaction:1", {"kind": "command", "pictures": [{"colour": 1}]})
        app.start()
        await app.wait_until_ready()

        assert (await imagine_and_wait(ann)).attachments
        assert await app.storage.inbox.pending_events("discord") == []
