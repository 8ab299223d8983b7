"""Discord away for hours, or there and saying nothing: tried again and again, not too seldom, and nothing is lost."""

import asyncio
from pathlib import Path

import pytest

from adapters.discord.adapter import MAX_RECONNECT_S
from bot.jobs import JobState
from bot.queue import delivery
from tests.discord.app_fixture import DiscordApp, QuickDiscord, open_app
from tests.discord.loopback.discord_server_state import Message
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import imagine_and_wait

HOUR = 3600.0


class Sleeps(list[float]):
    """How long everybody wanted to sleep; nobody sleeps longer than `longest_s`."""

    longest_s = 0.02


@pytest.fixture
def asked_sleeps(monkeypatch: pytest.MonkeyPatch) -> Sleeps:
    sleep, asked = asyncio.sleep, Sleeps()

    async def quick(seconds: float, *more: object) -> None:
        asked.append(seconds)
        await sleep(min(seconds, asked.longest_s))

    monkeypatch.setattr(asyncio, "sleep", quick)
    return asked


@pytest.fixture
def postponed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is pending is tried again immediately; this is how long it might have waited."""
    waits: list[float] = []

    def quick(tries: int) -> float:
        waits.append(min(300.0, 5.0 * 2 ** min(tries, 10)))
        return 0.0

    monkeypatch.setattr(delivery, "back_off_s", quick)
    return waits


# ---------------------------------------------------------------- there, and saying nothing


async def test_a_gateway_that_never_becomes_ready_is_reconnected(
    data_dir: Path, server: Loopback, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QuickDiscord, "ready_s", 0.3)
    server.gateway.is_speechless = True
    async with open_app(data_dir, server) as app:
        app.start()
        await until(lambda: server.gateway.log.count("identify") >= 3, "a third try")
        assert server.gateway.sockets <= 1
        server.gateway.is_speechless = False
        monkeypatch.setattr(QuickDiscord, "ready_s", 600.0)
        await app.wait_until_ready()

        assert (await imagine_and_wait(ann)).attachments
        assert not app.tasks[2].done()


async def test_a_gateway_that_says_ready_is_left_alone(
    data_dir: Path, server: Loopback, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QuickDiscord, "ready_s", 1.0)
    async with open_app(data_dir, server) as app:
        app.start()
        await app.wait_until_ready()
        tries = list(server.gateway.log)
        await asyncio.sleep(1.2)

        assert (await imagine_and_wait(ann)).attachments
        assert server.gateway.log == tries


# ---------------------------------------------------------------- away


async def test_a_start_in_an_outage_is_tried_every_minute_at_most(
    data_dir: Path, server: Loopback, ann: SimulatedUser, asked_sleeps: Sleeps
) -> None:
    await server.vanish()
    async with open_app(data_dir, server) as app:
        app.start()
        await until(lambda: len([one for one in asked_sleeps if one > MAX_RECONNECT_S / 2]) >= 20, "twenty long waits")
        await server.listen()
        await app.wait_until_ready()

        assert (await imagine_and_wait(ann)).attachments
    assert max(asked_sleeps) <= MAX_RECONNECT_S


async def test_a_lost_connection_is_tried_every_minute_at_most(
    app: DiscordApp, server: Loopback, ann: SimulatedUser, asked_sleeps: Sleeps
) -> None:
    await server.vanish()
    await until(lambda: len([one for one in asked_sleeps if one > 5]) > 60, "many tries")
    longest = max(asked_sleeps)

    await server.listen()
    await until(lambda: app.server.gateway.connected, "a connection")

    assert (await imagine_and_wait(ann)).attachments
    assert longest <= 64


@pytest.mark.slow
async def test_after_twelve_hours_results_are_edited_into_their_placeholders(
    app: DiscordApp, server: Loopback, ann: SimulatedUser, asked_sleeps: Sleeps, postponed: list[float]
) -> None:
    asked_sleeps.longest_s = 0.3  # this is about what is owed, not about how often a connection is tried
    for prompt in ("a slow fox", "slow fail"):
        ann.slash("imagine", prompt=prompt, steps=10)
    placeholders = [await ann.posted(number) for number in (1, 2)]
    await server.vanish()
    app.pool.go_on.set()
    await until(lambda: sum(postponed) > len(placeholders) * 12 * HOUR, "twelve hours", 100)
    assert not any(finished(one) for one in placeholders)

    server.state.advance_clock(12 * HOUR)
    await server.listen()
    await until(lambda: all(finished(one) for one in placeholders), "the results")

    assert ann.channel.from_bot == placeholders
    assert sorted(len(one.attachments) for one in placeholders) == [0, 1]
    while await app.storage.outbox.next_due_s() is not None:  # noqa: ASYNC110 - asked from outside
        await asyncio.sleep(0.02)
    tickets, _ = await app.application.usecases.jobs.list_tickets(await app.person(ann.person.id))
    assert sorted(one.job.state for one in tickets) == [JobState.DELIVERED, JobState.FAILED]


def finished(message: Message) -> bool:
    return any("reroll" in one for one in message.buttons)
