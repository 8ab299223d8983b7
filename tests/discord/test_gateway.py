"""The connection: first connects that fail, drops, op 7 and op 9, outages, refused tokens. Over real sockets."""

import threading
from pathlib import Path

import pytest
from discord.gateway import KeepAliveHandler

from adapters.discord.client import EaselClient
from tests.discord.app_fixture import DiscordApp, open_app
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import SimulatedUser, until


async def works(ann: SimulatedUser) -> None:
    seen = len(ann.channel.from_bot)
    ann.slash("imagine", prompt="a red fox")
    await ann.finished(seen + 1)


async def test_a_first_connect_that_fails_is_tried_again(
    data_dir: Path, server: Loopback, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.gateway.refusals = 1
    monkeypatch.setattr("discord.shard.asyncio.sleep", quick_sleep())

    async with open_app(data_dir, server) as app:
        app.start()
        await app.wait_until_ready()

        await works(ann)

    assert server.gateway.log[:2] == ["refused", "identify"]


def quick_sleep():
    import asyncio

    sleep = asyncio.sleep

    async def quick(seconds: float, *more: object) -> None:
        await sleep(min(seconds, 0.05))

    return quick


async def test_a_login_during_an_outage_is_tried_until_it_works(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    await server.vanish()
    async with open_app(data_dir, server) as app:
        app.start()
        await until(lambda: len(app.tasks) == 3)
        await server.listen()
        await app.wait_until_ready()

        await works(ann)


async def test_a_server_error_at_login_is_tried_again(data_dir: Path, server: Loopback, ann: SimulatedUser) -> None:
    server.fail("GET", "/users/@me", 503, times=2)
    async with open_app(data_dir, server) as app:
        app.start()
        await app.wait_until_ready()

        await works(ann)


async def test_a_dropped_connection_is_resumed_and_nothing_said_meanwhile_is_lost(
    app: DiscordApp, server: Loopback, ann: SimulatedUser
) -> None:
    server.gateway.drop()
    ann.slash("imagine", prompt="a red fox")

    await ann.finished()

    assert server.gateway.log == ["identify", "resume"]


async def test_a_resume_that_repeats_an_interaction_makes_no_second_job(
    app: DiscordApp, server: Loopback, ann: SimulatedUser
) -> None:
    await works(ann)
    session = server.gateway.connected[0]
    session.events += [
        (session.seq + 1, name, data) for _, name, data in session.events if name == "INTERACTION_CREATE"
    ]
    session.seq += 1
    server.gateway.drop()
    await until(lambda: "resume" in server.gateway.log, "a resume")

    await works(ann)

    assert len(ann.channel.from_bot) == 2


async def test_a_wish_to_reconnect_is_followed(app: DiscordApp, server: Loopback, ann: SimulatedUser) -> None:
    await server.gateway.ask_to_reconnect()
    await until(lambda: server.gateway.log == ["identify", "resume"], "a resume")

    await works(ann)


@pytest.mark.parametrize("is_resumable", [True, False])
async def test_an_invalid_session_is_replaced(
    app: DiscordApp, server: Loopback, ann: SimulatedUser, is_resumable: bool
) -> None:
    await server.gateway.invalidate(is_resumable=is_resumable)
    after = ["identify", "resume"] if is_resumable else ["identify", "identify"]
    await until(lambda: server.gateway.log == after, "a new session")

    await works(ann)


async def test_stopping_between_two_sessions_leaves_no_heartbeat_behind(
    app: DiscordApp, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EaselClient, "identify_wait_s", 600.0)
    await server.gateway.invalidate(is_resumable=False)
    await until(lambda: server.gateway.sockets == 1 and not server.gateway.connected, "a connection without a session")
    await until(lambda: len(heartbeats()) == 1, "its heartbeat")

    await app.kill()

    assert heartbeats() == []


def heartbeats() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if isinstance(one, KeepAliveHandler)]


async def test_after_hours_nothing_can_be_resumed_and_a_new_session_begins(
    app: DiscordApp, server: Loopback, ann: SimulatedUser
) -> None:
    server.gateway.forget_sessions()
    await until(lambda: "identify" in server.gateway.log[1:], "a new session")

    await works(ann)

    assert server.gateway.log[:2] == ["identify", "resume refused"]


async def test_an_outage_holds_up_nothing_but_discord(app: DiscordApp, server: Loopback, ann: SimulatedUser) -> None:
    ann.slash("imagine", prompt="a slow fox", steps=10)
    message = await ann.posted()
    await server.vanish()
    app.pool.go_on.set()
    await until(lambda: not app.pool._running, "the job's end")
    assert message.attachments == [] or message.attachments[0].filename == "preview.jpg"

    await server.listen()
    await ann.finished()

    assert message.attachments[0].filename.endswith(".png")
    assert len(ann.channel.from_bot) == 1


async def test_a_refused_token_is_one_sentence_and_the_server_keeps_running(data_dir: Path, server: Loopback) -> None:
    async with open_app(data_dir, server, token="wrong") as app:
        app.start()
        await until(lambda: len(server.state.sent("GET", "/gateway/bot")) >= 3, "three tries")

        assert [one for one in app.announcements if "refused the token" in one] == app.announcements
        assert len(app.announcements) == 1
        assert not any(task.done() for task in app.tasks)
        health = (await app.application.usecases.operations.check_readiness())[-1]
        assert (health.name, health.is_ok, health.is_required) == ("discord", False, False)
        assert "refused the token" in health.sentence


async def test_a_token_that_is_replaced_is_used_without_a_restart(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    async with open_app(data_dir, server, token="revoked") as app:
        app.start()
        await until(lambda: app.announcements, "a sentence")
        app.secrets["DISCORD_TOKEN"] = server.state.token
        await app.wait_until_ready()

        await works(ann)

        assert (await app.application.usecases.operations.check_readiness())[-1].is_ok


@pytest.mark.parametrize(
    ("path", "status"),
    [("/gateway/bot", 401), ("/users/@me", 401), ("/users/@me", 403), ("/oauth2/applications/@me", 404)],
)
async def test_a_page_of_a_firewall_says_nothing_about_the_token(
    data_dir: Path, server: Loopback, path: str, status: int
) -> None:
    server.fail("GET", path, status, page="<html>Access denied</html>", times=2)
    async with open_app(data_dir, server, sync_commands=False) as app:
        app.start()
        await app.wait_until_ready()

        assert app.announcements == []


async def test_a_token_that_is_withdrawn_while_running_is_announced_too(app: DiscordApp, server: Loopback) -> None:
    server.state.token = "another"
    server.gateway.forget_sessions()

    await until(lambda: app.announcements, "a sentence")

    assert "refused the token" in app.announcements[0]


async def test_no_privileged_intent_is_asked_for(app: DiscordApp, server: Loopback) -> None:
    privileged = 1 << 1 | 1 << 8 | 1 << 15

    assert server.gateway.connected[0].intents & privileged == 0


async def test_an_intent_that_discord_does_not_allow_is_done_without(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    async with open_app(data_dir, server, message_content=True) as app:
        app.start()
        await app.wait_until_ready()

        await works(ann)

    assert "message content" in app.announcements[0]


async def test_an_opted_in_intent_is_used(data_dir: Path, server: Loopback, ann: SimulatedUser) -> None:
    server.state.may_read_content = True
    async with open_app(data_dir, server, message_content=True) as app:
        app.start()
        await app.wait_until_ready()

        assert server.gateway.connected[0].intents & 1 << 15


async def test_another_gateway_can_be_named(data_dir: Path, server: Loopback, ann: SimulatedUser) -> None:
    async with open_app(data_dir, server, gateway_url=server.gateway_url) as app:
        app.start()
        await app.wait_until_ready()

        await works(ann)

    assert not server.state.sent("GET", "/gateway/bot")


async def test_heartbeats_that_nobody_answers_end_the_connection(
    data_dir: Path, server: Loopback, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.discord.client.HEARTBEAT_S", 1.0)
    server.gateway.heartbeat_ms = 300
    async with open_app(data_dir, server) as app:
        app.start()
        await app.wait_until_ready()
        server.gateway.is_mute = True
        await until(lambda: "resume" in server.gateway.log, "a resume")
        server.gateway.is_mute = False

        await works(ann)
