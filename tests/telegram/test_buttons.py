"""Button presses: each is answered, whatever it carries."""

import pytest

from tests.telegram.easel_fixture import has_button, text_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOX = picture(3, 48, 32)


def buttons_under(message):
    return [button["text"] for row in message["reply_markup"]["inline_keyboard"] for button in row]


async def job_of(app, message):
    ref = f"{message['chat']['id']}:{message['message_id']}"
    return await app.application.usecases.chat.job_of_message("telegram", ref)


async def test_a_waiting_job_has_one_button_and_a_picture_all_of_its_own(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine a slow fox")
    placeholder = await app.bot_message(chat)
    before = buttons_under(placeholder)
    app.pool.go_on.set()
    finished = await app.finished_picture(chat)

    assert before == ["Cancel"]
    assert buttons_under(finished) == [
        "Reroll",
        "Vary",
        "Upscale",
        "Ask",
        "Original",
        "Remix",
        "Change a part",
        "Same style",
        "Same subject",
        "Zoom out 1.5x",
        "Zoom out 2x",
        "\u2b05\ufe0f",
        "\u27a1\ufe0f",
        "\u2b06\ufe0f",
        "\u2b07\ufe0f",
        "\u2605 Favourite",
        "Delete",
    ]
    assert all(len(row) <= 4 for row in finished["reply_markup"]["inline_keyboard"])


async def test_reroll_makes_another_with_another_seed(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann, "a fox --seed 7 --steps 3")
    answer = await app.callback_answer(app.state.press(made, app.state.button(made, "reroll"), ann))
    again = await app.finished_picture(chat, 2)

    assert not answer.get("text")
    first, second = (await job_of(app, made)), (await job_of(app, again))
    assert second.options["seed"] != 7
    assert (second.options["prompt"], second.options["steps"], second.parent) == ("a fox", 3, first.id)
    assert again["reply_to_message"]["message_id"] == made["message_id"]


async def test_vary_starts_from_the_picture(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    app.state.press(made, app.state.button(made, "vary"), ann)
    varied = await job_of(app, await app.finished_picture(chat, 2))

    assert varied.options["strength"] == 0.5
    assert varied.images[0].id == (await job_of(app, made)).result.media[0].id


async def test_somebody_elses_reroll_is_theirs(app, group, ann, bob):
    made = await app.imagine_and_wait(group, ann)
    app.state.press(made, app.state.button(made, "reroll"), bob)
    again = await job_of(app, await app.finished_picture(group, 2))

    assert again.owner == (await app.application.usecases.people.identify_account("telegram", str(bob["id"]), "Bob")).id


async def test_original_sends_the_file_as_rendered_and_a_reply_to_it_is_about_it(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    app.state.press(made, app.state.button(made, "original"), ann)
    sent = await app.bot_message(chat, 2)
    job = await job_of(app, made)
    await app.until(lambda: app.server.called("sendDocument", chat["id"]))
    await app.wait_until_idle(0.1)
    app.state.send_message(chat, ann, "what is it?", reply_to=sent)
    await app.message_with(chat, "It is what is it?", 3)

    rendered = await app.storage.media.read_media(job.result.media[0].id, None)
    assert sent["original"] == rendered.data
    assert rendered.data.startswith(b"\x89PNG")


async def test_originals_of_several_pictures_come_as_one_album(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann, "a fox --count 3")
    app.state.press(made, app.state.button(made, "original"), ann)

    await app.until(lambda: len(app.state.bot_messages(chat)) == 4)
    assert len(app.server.called("sendMediaGroup", chat["id"])) == 1


async def test_cancel_stops_ones_own_job_and_the_message_says_so(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine a slow fox")
    placeholder = await app.bot_message(chat)
    await app.callback_answer(app.state.press(placeholder, app.state.button(placeholder, "cancel"), ann))

    cancelled = await app.message_with(chat, "Cancelled")
    assert cancelled["message_id"] == placeholder["message_id"]
    assert buttons_under(cancelled) == ["Reroll"]


async def test_nobody_cancels_somebody_elses_job(app, group, ann, bob):
    app.state.send_message(group, ann, "/imagine a slow fox")
    placeholder = await app.bot_message(group)
    answer = await app.callback_answer(app.state.press(placeholder, app.state.button(placeholder, "cancel"), bob))
    app.pool.go_on.set()

    assert answer["show_alert"] is True
    assert "Only" in answer["text"]
    await app.finished_picture(group)


async def test_delete_takes_the_message_and_the_picture_away(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann, "a fox to be deleted")
    await app.callback_answer(app.state.press(made, app.state.button(made, "delete"), ann))
    await app.until(lambda: app.state.bot_messages(chat) == [])
    app.state.send_message(chat, ann, "/history deleted")

    assert "None of your jobs" in text_of(await app.bot_message(chat, 1))
    assert (await job_of(app, made)) is None or (await job_of(app, made)).result is None


async def test_delete_takes_the_originals_away_too(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann, "a fox --count 2")
    app.state.press(made, app.state.button(made, "original"), ann)
    await app.until(lambda: len(app.state.bot_messages(chat)) == 3)
    job = await job_of(app, made)
    await app.until(lambda: len(app.server.called("sendMediaGroup", chat["id"])) == 1)
    await app.wait_until_idle(0.1)
    assert len(await app.application.usecases.chat.message_refs(job.id, "telegram")) == 3
    await app.callback_answer(app.state.press(made, app.state.button(made, "delete"), ann))

    await app.until(lambda: app.state.bot_messages(chat) == [])


async def test_what_telegram_no_longer_deletes_is_emptied(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    app.state.current(made)["is_old"] = True
    app.state.press(made, app.state.button(made, "delete"), ann)

    emptied = await app.message_with(chat, "Deleted.")
    assert emptied["message_id"] == made["message_id"]
    assert "reply_markup" not in emptied


async def test_a_delete_forged_from_ones_own_job_takes_nobody_elses_message_away(app, group, ann, bob):
    theirs = await app.imagine_and_wait(group, ann)
    own = await job_of(app, await app.imagine_and_wait(group, bob))
    answer = await app.callback_answer(app.state.press(theirs, f"v1:delete:{own.id}", bob))

    assert "no longer works" in answer["text"]
    assert "photo" in app.state.current(theirs)
    assert len(app.state.bot_messages(group)) == 2


async def test_nobody_deletes_somebody_elses_picture(app, group, ann, bob):
    made = await app.imagine_and_wait(group, ann)
    answer = await app.callback_answer(app.state.press(made, app.state.button(made, "delete"), bob))

    assert answer["show_alert"] is True
    assert app.state.current(made)


async def test_a_failed_job_can_be_tried_again(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine fail")
    failed = await app.message_with(chat, "you weren't charged")

    assert buttons_under(failed) == ["Reroll"]


FORGED = [
    "", "v1:reroll", "v1:reroll:aaaaaaaaaaaaaaaa", "v2:reroll:aaaaaaaaaaaaaaaa", "v1:cancel:aaaaaaaaaaaaaaaa", "\u0000",
    "x" * 64, "v1:pick:aaaaaaaaaaaaaaaa:9", "v1:delete:../../etc/passwd", "own:forget", "\U0001f98a" * 16,
]  # fmt: skip


async def test_a_forged_press_gets_a_polite_answer_and_does_nothing(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    jobs = app.pool.imagined
    answers = [await app.callback_answer(app.state.press(made, data, ann)) for data in FORGED]
    await app.wait_until_idle(0.1)

    assert all(answer["text"] for answer in answers)
    assert app.pool.imagined == jobs
    assert len(app.state.bot_messages(chat)) == 1


async def test_a_real_button_under_a_message_of_another_chat_does_nothing(app, chat, ann, bob):
    """Whoever knows a job's name (from a forwarded message, say) has not seen its message here."""
    made = await app.imagine_and_wait(chat, ann)
    elsewhere = app.state.private(bob)
    other = await app.imagine_and_wait(elsewhere, bob)
    data = app.state.button(made, "original")
    answer = await app.callback_answer(app.state.press(other, data, bob))
    await app.wait_until_idle(0.1)

    assert answer["text"]
    assert len(app.state.bot_messages(elsewhere)) == 1


async def test_a_press_that_comes_twice_makes_one_job(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    app.state.press(made, app.state.button(made, "reroll"), ann)
    again = dict(app.state.updates[-1])
    await app.finished_picture(chat, 2)
    app.state.updates.append(again)
    app.state.arrived.set()
    await app.wait_until_idle()

    assert len(app.state.bot_messages(chat)) == 2


async def test_a_button_under_a_message_that_telegram_no_longer_shows_works(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    data = app.state.button(made, "reroll")
    hidden = {"chat": made["chat"], "message_id": made["message_id"]}
    app.state.remove(made)
    app.state.press(hidden, data, ann)

    await app.finished_picture(chat, 1)


async def test_a_press_whose_answer_comes_too_late_still_works(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    query = app.state.press(made, app.state.button(made, "reroll"), ann)
    app.state.queries[query] = {"late": True}

    await app.finished_picture(chat, 2)


async def test_a_press_under_an_inline_message_is_answered(app, ann):
    app.state.queries["inline"] = None
    query = {
        "id": "inline",
        "from": ann,
        "chat_instance": "1",
        "inline_message_id": "x",
        "data": "v1:reroll:aaaaaaaaaaaaaaaa",
    }
    app.state.add_update(callback_query=query)

    assert (await app.callback_answer("inline"))["text"]


async def test_a_hidden_picture_gives_a_hidden_reroll(app, chat, ann):
    app.state.send_photo(chat, ann, FOX, "/imagine a fox", has_media_spoiler=True)
    made = await app.finished_picture(chat)
    app.state.press(made, app.state.button(made, "reroll"), ann)

    assert (await app.finished_picture(chat, 2))["has_media_spoiler"] is True


async def test_describe_offers_each_of_its_prompts(app, chat, ann):
    app.state.send_photo(chat, ann, FOX, "/describe")
    described = await app.message_with(chat, "a fox, number 1")
    app.state.press(described, app.state.button(described, "pick"), ann)
    made = await app.finished_picture(chat, 2)

    assert has_button(described, "pick")
    assert "a fox, number 1" in made["caption"]


async def test_upscale_makes_it_twice_as_large(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    app.state.press(made, app.state.button(made, "upscale"), ann)
    larger = await app.finished_picture(chat, 2)

    picture_of = (await job_of(app, larger)).result.media[0]
    assert (picture_of.width, picture_of.height) == (128, 128)


async def test_edit_changes_the_picture_as_the_reply_says(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    app.state.send_message(chat, ann, "make it blue", reply_to=made)
    offer = await app.bot_message(chat, 2)
    app.state.press(offer, app.state.button(offer, "edit"), ann)

    edited = await app.until(
        lambda: next((one for one in app.state.bot_messages(chat)[1:] if has_button(one, "original")), None)
    )
    assert (await job_of(app, edited)).options["prompt"] == "make it blue"


async def test_a_button_of_the_history_shows_the_picture_again(app, chat, ann):
    made = [await app.imagine_and_wait(chat, ann, f"a fox {number}") for number in range(6)]
    app.state.send_message(chat, ann, "/history")
    listed = await app.message_with(chat, "newest first", 7)
    button = f"v1:show:{(await job_of(app, made[0])).id}"
    app.state.press(listed, button, ann)
    shown = await app.finished_picture(chat, 8)
    await app.wait_until_idle(0.1)

    rows = listed["reply_markup"]["inline_keyboard"]
    assert [[one["text"] for one in row] for row in rows] == [["1", "2", "3", "4", "5"], ["6"]]
    assert rows[1][0]["callback_data"] == button
    assert "a fox 0" in shown["caption"]
    assert (await job_of(app, shown)).id == (await job_of(app, made[0])).id
    assert app.state.current(listed) == listed


async def test_nobody_is_shown_a_picture_of_somebody_elses_history(app, group, ann, bob):
    await app.imagine_and_wait(group, ann, "a red fox")
    app.state.send_message(group, ann, "/history")
    listed = await app.message_with(group, "newest first", 2)
    answer = await app.callback_answer(app.state.press(listed, app.state.button(listed, "show"), bob))
    await app.wait_until_idle(0.1)

    assert answer["show_alert"] is True
    assert answer["text"] == "Only the person who asked for it can do that."
    assert len(app.state.bot_messages(group)) == 2
