"""What goes wrong between Telegram and us, and that nothing is lost by it."""

import asyncio
import json

import aiohttp
import pytest

from bot.errors import StorageBusy
from tests.telegram.easel_fixture import has_button, words_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOX = picture(3, 48, 32)


def times_of(town, chat):
    return [call.at for call in town.server.calls if call.chat == chat["id"]]


# ---------------------------------------------------------------- messages and chats that are gone


async def test_a_blocked_bot_keeps_the_result_for_later(town, chat, ann):
    town.world.say(chat, ann, "/imagine a slow fox in a block")
    await town.answer(chat)
    town.world.blocked.add(chat["id"])
    town.pool.go_on.set()
    await town.until(lambda: any(call.status == 403 and "seed" in str(call.params) for call in town.server.calls))
    await town.quiet(0.2)
    town.world.blocked.discard(chat["id"])
    town.world.say(chat, ann, "/show")

    await town.picture(chat, 2)


async def test_a_group_that_became_a_supergroup_gets_its_answer_where_it_is_now(town, ann):
    group, new = town.world.group(), town.world.group()
    town.world.say(group, ann, "/imagine a slow fox")
    await town.answer(group)
    group["moved_to"] = new["id"]
    town.pool.go_on.set()

    await town.picture(new)


async def test_where_pictures_may_not_be_sent_the_person_is_told_at_once_and_gets_them_alone(town, group, ann):
    alone = town.world.private(ann)
    town.world.rights[group["id"]] = {"can_send_photos": False}
    town.world.say(group, ann, "/imagine a slow fox")
    told = await town.answer(alone)
    town.pool.go_on.set()
    await town.picture(alone)

    assert "may not post" in words_of(town.world.history[alone["id"], told["message_id"]][0])
    assert town.world.shown(group) == []


async def test_where_pictures_may_not_be_sent_a_question_is_answered_in_place(town, group, ann):
    town.world.rights[group["id"]] = {"can_send_photos": False}
    town.world.show(group, ann, FOX, "/ask what is it?")

    await town.text(group, "It is what is it?")


async def test_a_stranger_whom_nobody_may_write_to_hears_it_in_the_group(town, group, ann):
    town.world.rights[group["id"]] = {"can_send_photos": False}
    town.world.say(group, ann, "/imagine a fox")

    await town.text(group, "may not post")


async def test_what_cannot_be_a_photo_comes_as_a_file(town, chat, ann):
    town.server.fail(
        method="editMessageMedia", chat=chat["id"], status=400, description="Bad Request: PHOTO_INVALID_DIMENSIONS",
        times=1,
    )  # fmt: skip
    town.pool.step_s = 0.0
    town.world.say(chat, ann, "/imagine a fox --steps 1")

    def made():
        return next((one for one in town.world.shown(chat) if has_button(one, "original")), None)

    assert {"photo", "document"} & (await town.until(made)).keys()


# ---------------------------------------------------------------- lost answers, slow servers


async def test_an_edit_whose_answer_is_lost_is_repeated_and_shows_once(town, chat, ann):
    fault = town.server.fail(method="editMessageMedia", chat=chat["id"], afterwards=True, times=3)
    town.world.say(chat, ann, "/imagine a fox")
    await town.picture(chat)
    await town.until(lambda: fault.hits == 3)
    ref = f"{chat['id']}:{town.world.shown(chat)[0]['message_id']}"
    while (await town.house.usecases.chat.of_message("telegram", ref)).state != "delivered":  # noqa: ASYNC110
        await asyncio.sleep(0.01)

    assert len(town.world.shown(chat)) == 1


async def test_a_placeholder_whose_answer_is_lost_costs_one_stray_message_at_most(town, chat, ann):
    town.server.fail(method="sendMessage", chat=chat["id"], afterwards=True)
    town.world.say(chat, ann, "/imagine a fox")

    await town.until(lambda: any(has_button(one, "original") for one in town.world.shown(chat)))
    assert len(town.world.shown(chat)) <= 2


async def test_somebodys_hanging_download_keeps_nobody_else_waiting(town, chat, ann, bob):
    other = town.world.private(bob)
    hangs = asyncio.Event()
    town.server.fail(method="getFile", times=1, status=200, until=hangs)
    town.world.show(chat, ann, picture(61, 40, 40), "what is it?")
    await town.until(lambda: town.server.faults[0].hits)
    town.world.say(other, bob, "/imagine a fox")
    await town.picture(other)

    assert town.world.shown(chat) == []
    hangs.set()
    await town.text(chat, "It is")


async def test_a_person_is_answered_in_the_order_of_asking(town, chat, ann):
    hangs = asyncio.Event()
    town.server.fail(method="getFile", times=1, status=200, until=hangs)
    town.world.show(chat, ann, picture(62, 40, 40), "what came first?")
    town.world.say(chat, ann, "/imagine a fox")
    while len(await town.storage.inbox.waiting("telegram")) < 2:  # noqa: ASYNC110 - asked from outside
        await asyncio.sleep(0.01)
    hangs.set()
    await town.until(lambda: sum(has_button(one, "delete") for one in town.world.shown(chat)) == 2)

    person = await town.house.usecases.people.identify("telegram", str(ann["id"]), "Ann")
    tickets, _ = await town.house.usecases.jobs.page(person)
    assert [one.job.command for one in tickets] == ["imagine", "ask"]  # the newest first


async def test_a_download_that_fails_for_a_while_is_tried_again(town, chat, ann):
    town.server.fail(method="file", status=502, times=2)
    town.world.show(chat, ann, picture(63, 40, 40), "what is it?")

    await town.text(chat, "It is what is it?")


async def test_a_picture_that_telegram_no_longer_has_is_said(town, chat, ann):
    shown = town.world.show(chat, ann, picture(64, 40, 40))
    town.world.files.pop(shown["photo"][-1]["file_id"])
    town.world.say(chat, ann, "/ask what is it?", reply_to=shown)

    await town.text(chat, "send it again", 2)


# ---------------------------------------------------------------- floods


async def test_a_flooded_chat_is_left_alone_for_as_long_as_telegram_says_and_no_other(town, chat, ann, bob):
    other = town.world.private(bob)
    town.server.fail(method="send.*|edit.*", chat=chat["id"], status=429, parameters={"retry_after": 2}, times=1)
    town.world.say(chat, ann, "/imagine a fox")
    await town.until(lambda: any(call.status == 429 for call in town.server.calls if call.chat == chat["id"]))
    refused_at = times_of(town, chat)[-1]
    town.world.say(other, bob, "/imagine an owl")
    await town.picture(other)
    await town.picture(chat)

    later = [at for at in times_of(town, chat) if at > refused_at]
    assert min(times_of(town, other)) < min(later)
    assert min(later) >= refused_at + 1.95


async def test_a_storm_of_429_loses_nothing(town, chat, ann):
    town.server.fail(method="edit.*", chat=chat["id"], status=429, parameters={"retry_after": 1}, times=3)
    town.world.say(chat, ann, "/imagine a fox")

    await town.picture(chat)


async def test_a_busy_group_stays_within_its_budget_and_gets_every_result(town, group):
    people = [town.world.person(f"P{number}") for number in range(6)]
    for number, person in enumerate(people):
        town.world.say(group, person, f"/imagine a fox {number} --steps 20")
        town.world.say(group, person, f"/imagine an owl {number} --steps 20")

    def finished():
        return sum(has_button(one, "original") for one in town.world.shown(group)) == 12

    await town.until(finished, within_s=40)
    assert len(town.world.shown(group)) == 12


# ---------------------------------------------------------------- outages, other pollers, odd updates


async def test_an_outage_of_hours_loses_nothing_that_was_asked_before_or_during_it(own_town, monkeypatch):
    town, server, owed_s, asked_s = own_town, own_town.server, [], []

    def deliver_soon(tries):
        owed_s.append(min(300.0, 5.0 * 2 ** min(tries, 10)))  # the longest that it might have waited
        return 0.01

    def ask_soon(tries):
        asked_s.append(min(60.0, 2.0 ** min(tries, 10)))
        return 0.01

    monkeypatch.setattr("bot.queue.delivery.back_off_s", deliver_soon)
    monkeypatch.setattr("adapters.telegram.polling.back_off_s", ask_soon)
    ann = town.world.person("Ann")
    chat = town.world.private(ann)
    await town.open()
    town.world.say(chat, ann, "/imagine a slow fox")
    await town.answer(chat)
    await server.stop()
    town.pool.go_on.set()
    town.world.say(chat, ann, "/imagine an owl")
    await town.until(lambda: min(sum(owed_s), sum(asked_s)) > 2 * 3600)
    await server.start()

    await town.picture(chat, 1)
    await town.picture(chat, 2)
    await town.quiet()
    assert len(town.world.shown(chat)) == 2


async def test_the_first_connect_may_fail_for_long(own_town):
    ann = own_town.world.person("Ann")
    chat = own_town.world.private(ann)
    own_town.server.fail(method="getMe|deleteWebhook", status=502, times=4)
    own_town.world.say(chat, ann, "/imagine a fox")
    await own_town.open()

    await own_town.picture(chat)


async def test_a_token_that_is_refused_is_said_and_tried_again(own_town):
    own_town.server.fail(method="getMe", status=401, description="Unauthorized", times=100)
    serving = asyncio.create_task(own_town.open())
    said = await own_town.until(lambda: own_town.said)
    await serving

    assert "TELEGRAM_BOT_TOKEN" in said[0]
    assert not own_town.serving.done()


async def test_without_a_token_the_owner_is_told_and_nothing_breaks(own_town):
    own_town.secrets.clear()
    await own_town.open()

    assert "TELEGRAM_BOT_TOKEN" in own_town.said[0]


async def test_another_poller_is_said_once_and_waited_out(own_town):
    ann = own_town.world.person("Ann")
    chat = own_town.world.private(ann)
    await own_town.open()
    async with aiohttp.ClientSession() as session:
        url = f"{own_town.server.api_base}{own_town.server.token}/getUpdates"
        for _ in range(3):
            async with session.post(url, data={"timeout": 1, "offset": -1}) as answer:
                await answer.read()
            await asyncio.sleep(0.15)
    own_town.world.say(chat, ann, "/imagine a fox")
    await own_town.picture(chat)

    said = [line for line in own_town.said if "another program" in line]
    assert len(said) == 1
    assert not own_town.serving.done()


async def test_one_machine_has_one_poller_for_a_token(own_town, tmp_path_factory):
    from adapters.telegram import Telegram

    await own_town.open()
    rival = Telegram(own_town.settings, own_town.surroundings)
    waiting = asyncio.create_task(rival.run())
    said = await own_town.until(lambda: [line for line in own_town.said if "another Easel" in line])
    waiting.cancel()
    await asyncio.wait([waiting])

    assert len(said) == 1


async def test_a_webhook_left_over_is_taken_away_before_asking(own_town):
    own_town.server.methods.webhook = {"url": "https://old.example/", "secret": ""}
    ann = own_town.world.person("Ann")
    chat = own_town.world.private(ann)
    await own_town.open()
    own_town.world.say(chat, ann, "/imagine a fox")

    await own_town.picture(chat)


async def test_an_update_that_cannot_be_read_stops_nothing(town, chat, ann):
    town.world.tell(message={"message_id": "nonsense", "chat": {"type": "private"}, "date": "never"})
    town.world.tell(a_kind_of_update_of_the_future={"x": 1})
    town.world.say(chat, ann, "/imagine a fox")

    await town.picture(chat)


async def test_an_answer_that_the_library_cannot_read_is_not_repeated(town, chat, ann):
    """Telegram did what it was asked; its answer holds something that the library does not know."""
    town.server.is_slow_s = 0.2
    asked = town.world.say(chat, ann, "/imagine a fox")
    listed = town.world.say(chat, ann, "/models")
    await town.until(lambda: not town.world.updates)
    asked["poll"] = listed["poll"] = {"id": "of another time"}
    await town.until(lambda: any("paint" in words_of(one) for one in town.world.shown(chat)))
    await town.quiet(0.5)

    assert len(town.world.shown(chat)) <= 3
    assert not town.serving.done()


async def test_a_mistake_of_our_own_with_one_update_ends_nothing(town, chat, ann, monkeypatch):
    def broken(*_arguments):
        raise RuntimeError("inner reason")

    with monkeypatch.context() as patch:
        patch.setattr("adapters.telegram.update_handler.hear", broken)
        town.world.say(chat, ann, "/imagine a fox")
        await town.quiet(0.1)
    town.world.say(chat, ann, "/imagine an owl")

    await town.picture(chat)


async def test_an_update_is_asked_for_again_while_the_database_is_held(town, chat, ann, monkeypatch):
    keep = type(town.storage.inbox).keep
    refusals: list[int] = []

    async def busy(self, *arguments):
        if len(refusals) < 3:
            refusals.append(1)
            raise StorageBusy
        return await keep(self, *arguments)

    monkeypatch.setattr(type(town.storage.inbox), "keep", busy)
    town.world.say(chat, ann, "/imagine a fox")
    await town.picture(chat)

    assert len(refusals) == 3


async def test_what_was_asked_long_ago_is_answered_with_a_word_about_it(town, chat, ann):
    town.world.say(chat, ann, "/imagine a slow fox", age_s=3 * 3600)
    placeholder = await town.answer(chat)

    assert "3 h ago" in words_of(town.world.history[chat["id"], placeholder["message_id"]][0])


async def test_nothing_is_acknowledged_before_it_is_kept(own_town, monkeypatch):
    """A kill at any moment: what Telegram was told to forget lies in our own inbox."""
    town = own_town
    ann = town.world.person("Ann")
    chat = town.world.private(ann)
    seen = []
    keep = type(town.storage.inbox).keep

    async def watched(self, platform, key, event):
        seen.append((town.server.methods.acknowledged, event["update_id"]))
        return await keep(self, platform, key, event)

    monkeypatch.setattr(type(town.storage.inbox), "keep", watched)
    await town.open()
    for number in range(5):
        town.world.say(chat, ann, f"/imagine a fox {number}")
    await town.picture(chat, 5)

    assert len(seen) == 5
    assert all(acknowledged < update for acknowledged, update in seen)


async def test_the_token_is_in_no_log_and_no_message(own_town, capsys):
    town = own_town
    ann = town.world.person("Ann")
    chat = town.world.private(ann)
    town.server.fail(method="getUpdates|sendMessage", times=4)
    town.server.fail(method="getUpdates|sendMessage", times=2, status=400)
    await town.open()
    town.world.say(chat, ann, "/imagine a fox")
    await town.picture(chat)
    await town.server.stop()
    await asyncio.sleep(0.3)

    told = "".join(capsys.readouterr()) + json.dumps(town.said)
    assert town.server.token.partition(":")[2] not in told
