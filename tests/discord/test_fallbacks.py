"""Unexpected answers of Discord, and of proxies: each result arrives, or its message says where it is."""

import asyncio
from pathlib import Path

import pytest

from bot.jobs import JobState
from bot.ports.platform_answers import UnclearAnswer
from bot.queue import delivery
from tests.discord.app_fixture import DiscordApp, open_app
from tests.discord.loopback.discord_server_state import EVERYTHING
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import SimulatedUser, is_finished, until
from tests.discord.test_conversation import a_photo, imagine_and_wait
from tests.discord.test_refusals import RESULT, wait_for_state

PAGE = "<html><title>Access denied</title></html>"


@pytest.fixture(autouse=True)
def short_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "back_off_s", lambda _tries: 0.02)
    monkeypatch.setattr(delivery, "refused_back_off_s", lambda _tries: 0.05)


PAGES = (
    (403, PAGE, "text/html"),
    (401, PAGE, "text/html"),
    (404, "", "text/plain"),
    (400, PAGE, "application/json"),
    (403, '{"error": {"reason": "blocked"}}', "application/json"),
    (200, PAGE, "text/html"),
)


async def test_pages_of_a_firewall_only_delay_the_result(app: DiscordApp, ann: SimulatedUser) -> None:
    for status, page, content_type in PAGES:
        app.server.fail("PATCH", "/channels/", status, about=RESULT, page=page, content_type=content_type)
        app.server.fail("POST", "/channels/", status, page=page, content_type=content_type)

    message = await imagine_and_wait(ann)

    assert message.attachments
    assert ann.channel.from_bot == [message]
    assert app.server.rest.faults == []
    await wait_for_state(app, ann, JobState.DELIVERED)


@pytest.mark.parametrize("code", [31337, 50083], ids=["unknown", "an archived thread, which posting opens"])
async def test_an_edit_that_is_refused_becomes_a_new_message(app: DiscordApp, ann: SimulatedUser, code: int) -> None:
    app.server.fail("PATCH", "/channels/", 400, code=code, about=RESULT, times=1000)
    ann.slash("imagine", prompt="a slow fox", steps=10)
    placeholder = await ann.posted()
    app.pool.go_on.set()

    await until(lambda: any(is_finished(one) and one.attachments for one in ann.channel.from_bot), "the picture")

    await wait_for_state(app, ann, JobState.DELIVERED)
    assert placeholder not in ann.channel.from_bot
    assert len(ann.channel.from_bot) == 1


async def test_a_result_that_is_refused_everywhere_with_an_unknown_code_is_said_in_its_placeholder(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    app.server.fail("PATCH", "/channels/", 400, code=31337, about=RESULT, times=1000)
    app.server.fail("POST", "/messages", 400, code=31337, about=RESULT, times=1000)
    ann.slash("imagine", prompt="a slow fox", steps=10)
    message = await ann.posted()
    app.pool.go_on.set()

    await until(lambda: "it's saved" in message.content, "a sentence")

    assert message.buttons == []


@pytest.mark.parametrize("code", [160002, 31337])
async def test_a_reply_that_is_not_taken_is_sent_without_the_reference(
    app: DiscordApp, ann: SimulatedUser, code: int
) -> None:
    app.server.fail("POST", "/messages", 400, code=code, about="message_reference", times=1000)

    ann.write_message("what is it?", a_photo(app.server))

    message = await ann.finished()
    assert "It is what is it?" in message.content
    assert message.reply_to is None


async def test_while_the_token_is_refused_everything_waits_and_nothing_is_lost(
    app: DiscordApp, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.discord.error_mapping.REFUSED_RETRY_S", 0.3)
    for _ in range(5):
        ann.slash("imagine", prompt="a slow fox", steps=10)
    await ann.posted(5)
    token, app.server.state.token = app.server.state.token, "rotated"
    app.pool.go_on.set()
    await until(lambda: any(one.status == 401 for one in app.server.state.calls), "a refusal")
    await asyncio.sleep(0.2)
    refused = [one for one in app.server.state.calls if one.status == 401]
    app.server.state.token = token

    await until(lambda: all(is_finished(one) for one in ann.channel.from_bot), "the results")

    assert len(ann.channel.from_bot) == 5
    assert len(refused) <= 6  # those that were under way; the rest is not even sent


async def test_where_nothing_may_be_written_the_placeholder_becomes_the_result_when_it_may(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    ann.person.blocks_bot = True
    ann.slash("imagine", prompt="a slow fox", steps=10)
    placeholder = await ann.posted()
    ann.channel.permissions = 0
    app.pool.go_on.set()
    await until(lambda: sum(one.status == 403 for one in app.server.state.sent("POST", "/messages")) >= 4, "tries")
    assert not is_finished(placeholder)

    ann.channel.permissions = EVERYTHING

    await until(lambda: is_finished(placeholder) or "it's saved" in placeholder.content, "the result, or where it is")
    assert not any("cancel" in one for one in placeholder.buttons)


@pytest.mark.parametrize(("code", "remedy"), [(4013, "update Easel"), (4014, "developer portal")])
async def test_a_gateway_that_closes_for_good_is_said_once_and_tried_calmly(
    data_dir: Path, server: Loopback, code: int, remedy: str
) -> None:
    server.gateway.close_code = code
    async with open_app(data_dir, server) as app:
        app.start()
        await until(lambda: server.gateway.log.count("identify") == 3, "three tries")
        health = (await app.application.usecases.operations.check_readiness())[-1]
        server.gateway.close_code = 0
        await app.wait_until_ready()

    assert [line for line in app.announcements if remedy in line] == app.announcements
    assert len(app.announcements) == 1
    assert remedy in health.sentence


async def test_a_page_with_status_200_is_no_success(app: DiscordApp, ann: SimulatedUser) -> None:
    message = await imagine_and_wait(ann)
    app.server.fail("DELETE", "/channels/", 200, page=PAGE, content_type="text/html")
    channel = app.discord.context.connected_client().get_partial_messageable(ann.channel.id)

    with pytest.raises(UnclearAnswer), app.discord.context.translate_errors():
        await channel.get_partial_message(message.id).delete()


async def test_a_limit_of_an_interaction_that_lasts_for_years_doubles_nothing(
    app: DiscordApp, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.discord.delivery.DELETE_TIMEOUT_S", 0.1)
    body = '{"message": "You are being rate limited.", "retry_after": 1e9, "global": false}'
    app.server.fail("DELETE", "/webhooks/", 429, page=body, content_type="application/json", times=100)

    message = await imagine_and_wait(ann)

    assert message.attachments
    assert len([one for one in ann.channel.from_bot if one.attachments]) == 1
