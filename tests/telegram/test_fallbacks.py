"""Unexpected answers of Telegram, and of proxies: each result arrives, or its message says where it is."""

import asyncio

import pytest

from adapters.telegram.adapter import TOKEN_VARIABLE
from bot.ports.platform_answers import PAGE_PATIENCE
from tests.telegram.easel_fixture import has_button, text_of
from tests.telegram.methods import Refused

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGE = "<html><title>Access denied</title></html>"
UNKNOWN = "Bad Request: SOMETHING_NEW"


@pytest.fixture(autouse=True)
def short_back_off(monkeypatch):
    monkeypatch.setattr("bot.queue.delivery.back_off_s", lambda _tries: 0.01)
    monkeypatch.setattr("bot.queue.delivery.refused_back_off_s", lambda _tries: 0.05)


async def placeholder_of_a_slow_job(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine a slow fox --steps 5")
    placeholder = await app.bot_message(chat)
    await app.until(lambda: not app.state.updates)
    return placeholder


PAGES = [(403, PAGE), (401, PAGE), (404, ""), (400, "{}"), (200, PAGE), (409, '{"ok": false}')]


async def test_pages_of_a_firewall_only_delay_the_result(app, chat, ann):
    for status, page in PAGES:
        app.server.fail(method="editMessageMedia", chat=chat["id"], status=status, page=page)
    for status, page in PAGES[:3]:
        app.server.fail(method="sendMessage", chat=chat["id"], status=status, page=page)
    app.state.send_message(chat, ann, "/imagine a fox")

    await app.finished_picture(chat)

    assert len(app.state.bot_messages(chat)) == 1
    await app.until(lambda: all(fault.hits for fault in app.server.faults))


async def test_an_edit_that_is_refused_in_unknown_words_becomes_a_new_message(app, chat, ann):
    app.server.fail(method="editMessageMedia", chat=chat["id"], status=400, description=UNKNOWN, times=100)
    placeholder = await placeholder_of_a_slow_job(app, chat, ann)
    app.pool.go_on.set()

    await app.until(lambda: any(has_button(one, "original") for one in app.state.bot_messages(chat)))

    await app.until(lambda: len(app.state.bot_messages(chat)) == 1)
    assert placeholder["message_id"] != app.state.bot_messages(chat)[0]["message_id"]


async def test_a_photo_that_is_refused_in_unknown_words_is_sent_as_a_file(app, chat, ann):
    placeholder = await placeholder_of_a_slow_job(app, chat, ann)
    del app.state.messages[chat["id"], placeholder["message_id"]]
    app.server.fail(method="sendPhoto", chat=chat["id"], status=400, description=UNKNOWN, times=100)
    app.pool.go_on.set()

    sent = await app.until(lambda: app.state.bot_messages(chat))

    assert "document" in sent[0]


async def test_a_photo_that_a_proxy_finds_too_large_is_made_smaller(app, chat, ann, monkeypatch):
    limits = []

    async def record(_media_usecases, media, max_bytes):
        limits.append(max_bytes / len(media.data))
        return media, False

    monkeypatch.setattr("bot.usecases.media.MediaUseCases.fit_bytes", record)
    placeholder = await placeholder_of_a_slow_job(app, chat, ann)
    del app.state.messages[chat["id"], placeholder["message_id"]]
    app.server.fail(method="sendPhoto", chat=chat["id"], status=413, page=PAGE)
    app.pool.go_on.set()

    await app.finished_picture(chat)

    assert len(app.state.bot_messages(chat)) == 1
    assert min(limits) < 0.5


async def test_a_placeholder_whose_answers_are_always_lost_is_posted_a_few_times(app, chat, ann):
    lost = app.server.fail(method="sendMessage", chat=chat["id"], status=0, afterwards=True, times=1000)
    app.state.send_message(chat, ann, "/imagine a fox")

    await app.until(lambda: any("photo" in one for one in app.state.bot_messages(chat)))

    assert lost.hits == PAGE_PATIENCE + 1


async def test_a_picture_that_no_proxy_lets_through_is_said_to_be_kept(app, chat, ann):
    refused = app.server.fail(method="editMessageMedia", chat=chat["id"], status=413, page=PAGE, times=1000)
    app.state.send_message(chat, ann, "/imagine a fox")

    told = await app.message_with(chat, "it's saved")

    assert "/show" in text_of(told)
    assert refused.hits <= 8


@pytest.mark.parametrize("description", ["Bad Request: message to be replied not found", UNKNOWN])
async def test_a_reply_that_is_not_taken_is_sent_without_the_reference(app, chat, ann, description, monkeypatch):
    send = app.server.methods.sendMessage

    async def without_replies(params, files):
        if "reply_parameters" in params:
            raise Refused(400, description)
        return await send(params, files)

    monkeypatch.setattr(app.server.methods, "sendMessage", without_replies)
    app.state.send_message(chat, ann, "/imagine a fox")

    made = await app.finished_picture(chat)

    assert "reply_to_message" not in made


async def test_a_result_that_is_refused_everywhere_in_unknown_words_is_said_in_its_placeholder(app, chat, ann):
    await placeholder_of_a_slow_job(app, chat, ann)
    app.server.fail(method="editMessageMedia|send.*", chat=chat["id"], status=400, description=UNKNOWN, times=1000)
    app.pool.go_on.set()

    told = await app.message_with(chat, "it's saved")

    assert "/show" in text_of(told)
    assert "reply_markup" not in told


async def test_a_closed_topic_gets_its_result_when_it_is_opened_again(app, ann):
    group = app.state.group()
    placeholder = await placeholder_of_a_slow_job(app, group, ann)
    closed = app.server.fail(
        method="send.*|edit.*", chat=group["id"], status=400, description="Bad Request: TOPIC_CLOSED", times=10**6
    )
    app.pool.go_on.set()
    await app.until(lambda: closed.hits >= 6)
    app.server.faults.remove(closed)

    made = await app.finished_picture(group)

    assert made["message_id"] == placeholder["message_id"]


async def test_while_the_token_is_refused_everything_waits_and_nothing_is_lost(own_app, monkeypatch):
    app = own_app
    monkeypatch.setattr("adapters.telegram.bot_client.REFUSED_RETRY_S", 0.3)
    people = [app.state.person(f"P{number}") for number in range(4)]
    chats = [app.state.private(one) for one in people]
    await app.open()
    for chat, person in zip(chats, people, strict=True):
        await placeholder_of_a_slow_job(app, chat, person)
    token, app.state.token = app.state.token, "42:rotated"
    app.pool.go_on.set()
    await app.until(lambda: any(call.status == 401 for call in app.server.calls))
    await asyncio.sleep(0.15)
    refused = [call for call in app.server.calls if call.status == 401 and call.method != "getUpdates"]
    app.state.token = token

    for chat in chats:
        await app.finished_picture(chat)
    assert len(refused) <= 4  # those that were under way


async def test_a_token_that_is_replaced_is_used_without_a_restart(own_app, monkeypatch):
    app = own_app
    monkeypatch.setattr("adapters.telegram.adapter.TOKEN_CHECK_S", 0.1)
    monkeypatch.setattr("adapters.telegram.bot_client.REFUSED_RETRY_S", 0.1)
    ann = app.state.person("Ann")
    chat = app.state.private(ann)
    await app.open()
    app.state.token = "42:rotated"
    app.state.send_message(chat, ann, "/models")  # ends the poll that was accepted
    await app.until(lambda: any("refused the token" in line for line in app.announcements))
    health = (await app.application.usecases.operations.check_readiness())[-1]
    assert (health.name, health.is_ok, health.is_required) == ("telegram", False, False)
    app.secrets[TOKEN_VARIABLE] = app.state.token
    app.state.send_message(chat, ann, "/imagine a fox")

    await app.until(lambda: any(has_button(one, "original") for one in app.state.bot_messages(chat)))

    assert (await app.application.usecases.operations.check_readiness())[-1].is_ok


async def test_a_cancel_that_is_left_under_a_finished_job_brings_the_result(app, chat, ann, monkeypatch):
    monkeypatch.setattr("bot.queue.delivery.MAX_REFUSED_TRIES", 1)
    placeholder = await placeholder_of_a_slow_job(app, chat, ann)
    app.state.blocked.add(chat["id"])
    app.pool.go_on.set()
    person = await app.application.usecases.people.identify_account("telegram", str(ann["id"]), "Ann")
    jobs = app.application.usecases.jobs
    while (await jobs.list_tickets(person))[0][0].job.state != "rendered":  # noqa: ASYNC110 - asked from outside
        await asyncio.sleep(0.01)
    while await app.storage.outbox.next_due_s() is not None:  # noqa: ASYNC110 - asked from outside
        await asyncio.sleep(0.01)
    app.state.blocked.discard(chat["id"])

    pressed = app.state.press(placeholder, app.state.button(placeholder, "cancel"), ann)

    assert "can no longer be cancelled" in (await app.callback_answer(pressed))["text"]
    app.application.deliverer.wake()
    made = await app.finished_picture(chat)
    assert made["message_id"] == placeholder["message_id"]
