"""What goes wrong between Telegram and us, and that nothing is lost by it."""

import asyncio
import json

import aiohttp
import pytest

from bot.chat import texts as chat_texts
from bot.errors import StorageBusy
from tests.telegram.easel_fixture import has_button, text_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOX = picture(3, 48, 32)


def times_of(app, chat):
    return [call.at for call in app.server.calls if call.chat == chat["id"]]


# ---------------------------------------------------------------- messages and chats that are gone


async def test_a_blocked_bot_keeps_the_result_for_later(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine a slow fox in a block")
    await app.bot_message(chat)
    app.state.blocked.add(chat["id"])
    app.pool.go_on.set()
    await app.until(lambda: any(call.status == 403 and "seed" in str(call.params) for call in app.server.calls))
    await app.wait_until_idle(0.2)
    app.state.blocked.discard(chat["id"])
    app.state.send_message(chat, ann, "/show")

    await app.finished_picture(chat, 2)


async def test_a_group_that_became_a_supergroup_gets_its_answer_where_it_is_now(app, ann):
    group, new = app.state.group(), app.state.group()
    app.state.send_message(group, ann, "/imagine a slow fox")
    await app.bot_message(group)
    group["moved_to"] = new["id"]
    app.pool.go_on.set()

    await app.finished_picture(new)


async def test_where_pictures_are_not_allowed_the_person_gets_them_in_private(app, group, ann):
    alone = app.state.private(ann)
    app.state.rights[group["id"]] = {"can_send_photos": False}
    app.state.send_message(group, ann, "/imagine a slow fox")
    told = await app.bot_message(alone)
    app.pool.go_on.set()
    await app.finished_picture(alone)

    assert "I can't post in this chat" in text_of(app.state.history[alone["id"], told["message_id"]][0])
    assert app.state.bot_messages(group) == []


async def test_a_result_that_comes_in_private_instead_says_why(app, group, ann):
    alone = app.state.private(ann)
    app.state.send_message(group, ann, "/imagine a slow fox")
    await app.bot_message(group)
    closed = "Bad Request: TOPIC_CLOSED"
    app.server.fail(method="(send|edit).*", chat=group["id"], times=99, status=400, description=closed)
    app.pool.go_on.set()
    made = await app.finished_picture(alone)

    assert made["caption"].splitlines()[-1] == chat_texts.SENT_PRIVATELY


async def test_where_pictures_may_not_be_sent_a_question_is_answered_in_place(app, group, ann):
    app.state.rights[group["id"]] = {"can_send_photos": False}
    app.state.send_photo(group, ann, FOX, "/ask what is it?")

    await app.message_with(group, "It is what is it?")


async def test_a_person_who_never_wrote_to_the_bot_is_answered_in_the_group(app, group, ann):
    app.state.rights[group["id"]] = {"can_send_photos": False}
    app.state.send_message(group, ann, "/imagine a fox")

    await app.message_with(group, "I can't post in this chat")


async def test_what_cannot_be_a_photo_comes_as_a_file(app, chat, ann):
    app.server.fail(
        method="editMessageMedia", chat=chat["id"], status=400, description="Bad Request: PHOTO_INVALID_DIMENSIONS",
        times=1,
    )  # fmt: skip
    app.pool.step_s = 0.0
    app.state.send_message(chat, ann, "/imagine a fox --steps 1")

    def made():
        return next((one for one in app.state.bot_messages(chat) if has_button(one, "original")), None)

    assert {"photo", "document"} & (await app.until(made)).keys()


# ---------------------------------------------------------------- lost answers, slow servers


async def test_an_edit_whose_answer_is_lost_is_repeated_and_shows_once(app, chat, ann):
    fault = app.server.fail(method="editMessageMedia", chat=chat["id"], afterwards=True, times=3)
    app.state.send_message(chat, ann, "/imagine a fox")
    await app.finished_picture(chat)
    await app.until(lambda: fault.hits == 3)
    ref = f"{chat['id']}:{app.state.bot_messages(chat)[0]['message_id']}"
    while (await app.application.usecases.chat.job_of_message("telegram", ref)).state != "delivered":  # noqa: ASYNC110
        await asyncio.sleep(0.01)

    assert len(app.state.bot_messages(chat)) == 1


async def test_a_placeholder_whose_answer_is_lost_costs_one_stray_message_at_most(app, chat, ann):
    app.server.fail(method="sendMessage", chat=chat["id"], afterwards=True)
    app.state.send_message(chat, ann, "/imagine a fox")

    await app.until(lambda: any(has_button(one, "original") for one in app.state.bot_messages(chat)))
    assert len(app.state.bot_messages(chat)) <= 2


async def test_somebodys_hanging_download_keeps_nobody_else_waiting(app, chat, ann, bob):
    other = app.state.private(bob)
    hangs = asyncio.Event()
    app.server.fail(method="getFile", times=1, status=200, until=hangs)
    app.state.send_photo(chat, ann, picture(61, 40, 40), "what is it?")
    await app.until(lambda: app.server.faults[0].hits)
    app.state.send_message(other, bob, "/imagine a fox")
    await app.finished_picture(other)

    assert app.state.bot_messages(chat) == []
    hangs.set()
    await app.message_with(chat, "It is")


async def test_a_person_is_answered_in_the_order_of_asking(app, chat, ann):
    hangs = asyncio.Event()
    app.server.fail(method="getFile", times=1, status=200, until=hangs)
    app.state.send_photo(chat, ann, picture(62, 40, 40), "what came first?")
    app.state.send_message(chat, ann, "/imagine a fox")
    while len(await app.storage.inbox.pending_events("telegram")) < 2:  # noqa: ASYNC110 - asked from outside
        await asyncio.sleep(0.01)
    hangs.set()
    await app.until(lambda: sum(has_button(one, "delete") for one in app.state.bot_messages(chat)) == 2)

    person = await app.application.usecases.people.identify_account("telegram", str(ann["id"]), "Ann")
    tickets, _ = await app.application.usecases.jobs.list_tickets(person)
    assert [one.job.command for one in tickets] == ["imagine", "ask"]  # the newest first


async def test_a_download_that_fails_for_a_while_is_tried_again(app, chat, ann):
    app.server.fail(method="file", status=502, times=2)
    app.state.send_photo(chat, ann, picture(63, 40, 40), "what is it?")

    await app.message_with(chat, "It is what is it?")


async def test_a_picture_that_telegram_no_longer_has_is_said(app, chat, ann):
    shown = app.state.send_photo(chat, ann, picture(64, 40, 40))
    app.state.files.pop(shown["photo"][-1]["file_id"])
    app.state.send_message(chat, ann, "/ask what is it?", reply_to=shown)

    await app.message_with(chat, "send it again", 2)


# ---------------------------------------------------------------- floods


async def test_a_flooded_chat_is_left_alone_for_as_long_as_telegram_says_and_no_other(app, chat, ann, bob):
    other = app.state.private(bob)
    app.server.fail(method="send.*|edit.*", chat=chat["id"], status=429, parameters={"retry_after": 2}, times=1)
    app.state.send_message(chat, ann, "/imagine a fox")
    await app.until(lambda: any(call.status == 429 for call in app.server.calls if call.chat == chat["id"]))
    refused_at = times_of(app, chat)[-1]
    app.state.send_message(other, bob, "/imagine an owl")
    await app.finished_picture(other)
    await app.finished_picture(chat)

    later = [at for at in times_of(app, chat) if at > refused_at]
    assert min(times_of(app, other)) < min(later)
    assert min(later) >= refused_at + 1.95


async def test_a_storm_of_429_loses_nothing(app, chat, ann):
    app.server.fail(method="edit.*", chat=chat["id"], status=429, parameters={"retry_after": 1}, times=3)
    app.state.send_message(chat, ann, "/imagine a fox")

    await app.finished_picture(chat)


async def test_a_busy_group_stays_within_its_budget_and_gets_every_result(app, group):
    people = [app.state.person(f"P{number}") for number in range(6)]
    for number, person in enumerate(people):
        app.state.send_message(group, person, f"/imagine a fox {number} --steps 20")
        app.state.send_message(group, person, f"/imagine an owl {number} --steps 20")

    def finished():
        return sum(has_button(one, "original") for one in app.state.bot_messages(group)) == 12

    await app.until(finished, within_s=40)
    assert len(app.state.bot_messages(group)) == 12


# ---------------------------------------------------------------- outages, other pollers, odd updates


async def test_an_outage_of_hours_loses_nothing_that_was_asked_before_or_during_it(own_app, monkeypatch):
    app, server, owed_s, asked_s = own_app, own_app.server, [], []

    def deliver_soon(tries):
        owed_s.append(min(300.0, 5.0 * 2 ** min(tries, 10)))  # the longest that it might have waited
        return 0.01

    def ask_soon(tries):
        asked_s.append(min(60.0, 2.0 ** min(tries, 10)))
        return 0.01

    monkeypatch.setattr("bot.queue.delivery.back_off_s", deliver_soon)
    monkeypatch.setattr("adapters.telegram.polling.backoff_s", ask_soon)
    ann = app.state.person("Ann")
    chat = app.state.private(ann)
    await app.open()
    app.state.send_message(chat, ann, "/imagine a slow fox")
    await app.bot_message(chat)
    await server.stop()
    app.pool.go_on.set()
    app.state.send_message(chat, ann, "/imagine an owl")
    await app.until(lambda: min(sum(owed_s), sum(asked_s)) > 2 * 3600)
    await server.start()

    await app.finished_picture(chat, 1)
    await app.finished_picture(chat, 2)
    await app.wait_until_idle()
    assert len(app.state.bot_messages(chat)) == 2


async def test_the_first_connect_may_fail_for_long(own_app):
    ann = own_app.state.person("Ann")
    chat = own_app.state.private(ann)
    own_app.server.fail(method="getMe|deleteWebhook", status=502, times=4)
    own_app.state.send_message(chat, ann, "/imagine a fox")
    await own_app.open()

    await own_app.finished_picture(chat)


async def test_a_token_that_is_refused_is_said_and_tried_again(own_app):
    own_app.server.fail(method="getMe", status=401, description="Unauthorized", times=100)
    serving = asyncio.create_task(own_app.open())
    said = await own_app.until(lambda: own_app.announcements)
    await serving

    assert "TELEGRAM_BOT_TOKEN" in said[0]
    assert not own_app.serving.done()


async def test_without_a_token_the_owner_is_informed_and_nothing_breaks(own_app):
    own_app.secrets.clear()
    await own_app.open()

    assert "TELEGRAM_BOT_TOKEN" in own_app.announcements[0]


async def test_another_poller_is_said_once_and_waited_out(own_app):
    ann = own_app.state.person("Ann")
    chat = own_app.state.private(ann)
    await own_app.open()
    async with aiohttp.ClientSession() as session:
        url = f"{own_app.server.api_base}{own_app.server.token}/getUpdates"
        for _ in range(3):
            async with session.post(url, data={"timeout": 1, "offset": -1}) as answer:
                await answer.read()
            await asyncio.sleep(0.15)
    own_app.state.send_message(chat, ann, "/imagine a fox")
    await own_app.finished_picture(chat)

    said = [line for line in own_app.announcements if "another program" in line]
    assert len(said) == 1
    assert not own_app.serving.done()


async def test_one_machine_has_one_poller_for_a_token(own_app, tmp_path_factory):
    from adapters.telegram import TelegramAdapter

    await own_app.open()
    rival = TelegramAdapter(own_app.settings, own_app.adapter_context)
    waiting = asyncio.create_task(rival.serve())
    said = await own_app.until(lambda: [line for line in own_app.announcements if "another Easel" in line])
    waiting.cancel()
    await asyncio.wait([waiting])

    assert len(said) == 1


async def test_a_webhook_left_over_is_taken_away_before_asking(own_app):
    own_app.server.methods.webhook = {"url": "https://old.example/", "secret": ""}
    ann = own_app.state.person("Ann")
    chat = own_app.state.private(ann)
    await own_app.open()
    own_app.state.send_message(chat, ann, "/imagine a fox")

    await own_app.finished_picture(chat)


async def test_an_update_that_cannot_be_read_stops_nothing(app, chat, ann):
    app.state.add_update(message={"message_id": "nonsense", "chat": {"type": "private"}, "date": "never"})
    app.state.add_update(a_kind_of_update_of_the_future={"x": 1})
    app.state.send_message(chat, ann, "/imagine a fox")

    await app.finished_picture(chat)


async def test_an_answer_that_the_library_cannot_read_is_not_repeated(app, chat, ann):
    """Telegram did what it was asked; its answer holds something that the library does not know."""
    app.server.is_slow_s = 0.2
    asked = app.state.send_message(chat, ann, "/imagine a fox")
    listed = app.state.send_message(chat, ann, "/models")
    await app.until(lambda: not app.state.updates)
    asked["poll"] = listed["poll"] = {"id": "of another time"}
    await app.until(lambda: any("paint" in text_of(one) for one in app.state.bot_messages(chat)))
    await app.wait_until_idle(0.5)

    assert len(app.state.bot_messages(chat)) <= 3
    assert not app.serving.done()


async def test_a_mistake_of_our_own_with_one_update_ends_nothing(app, chat, ann, monkeypatch):
    def broken(*_arguments):
        raise RuntimeError("inner reason")

    with monkeypatch.context() as patch:
        patch.setattr("adapters.telegram.update_handler.parse_message", broken)
        app.state.send_message(chat, ann, "/imagine a fox")
        await app.wait_until_idle(0.1)
    app.state.send_message(chat, ann, "/imagine an owl")

    await app.finished_picture(chat)


async def test_an_update_is_asked_for_again_while_the_database_is_held(app, chat, ann, monkeypatch):
    save_event = type(app.storage.inbox).save_event
    refusals: list[int] = []

    async def busy(self, *arguments):
        if len(refusals) < 3:
            refusals.append(1)
            raise StorageBusy
        return await save_event(self, *arguments)

    monkeypatch.setattr(type(app.storage.inbox), "save_event", busy)
    app.state.send_message(chat, ann, "/imagine a fox")
    await app.finished_picture(chat)

    assert len(refusals) == 3


async def test_what_was_asked_long_ago_is_answered_with_a_word_about_it(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine a slow fox", age_s=3 * 3600)
    placeholder = await app.bot_message(chat)

    assert "3 h ago" in text_of(app.state.history[chat["id"], placeholder["message_id"]][0])


async def test_nothing_is_acknowledged_before_it_is_kept(own_app, monkeypatch):
    """Whenever the process is killed, acknowledged updates are in the inbox."""
    app = own_app
    ann = app.state.person("Ann")
    chat = app.state.private(ann)
    seen = []
    save_event = type(app.storage.inbox).save_event

    async def watched(self, platform, key, event):
        seen.append((app.server.methods.acknowledged, event["update_id"]))
        return await save_event(self, platform, key, event)

    monkeypatch.setattr(type(app.storage.inbox), "save_event", watched)
    await app.open()
    for number in range(5):
        app.state.send_message(chat, ann, f"/imagine a fox {number}")
    await app.finished_picture(chat, 5)

    assert len(seen) == 5
    assert all(acknowledged < update for acknowledged, update in seen)


async def test_the_token_is_in_no_log_and_no_message(own_app, capsys):
    app = own_app
    ann = app.state.person("Ann")
    chat = app.state.private(ann)
    app.server.fail(method="getUpdates|sendMessage", times=4)
    app.server.fail(method="getUpdates|sendMessage", times=2, status=400)
    await app.open()
    app.state.send_message(chat, ann, "/imagine a fox")
    await app.finished_picture(chat)
    await app.server.stop()
    await asyncio.sleep(0.3)

    told = "".join(capsys.readouterr()) + json.dumps(app.announcements)
    assert app.server.token.partition(":")[2] not in told
