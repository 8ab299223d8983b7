"""Presses: each answered, whoever presses whatever."""

import pytest

from tests.telegram.easel_fixture import has_button, words_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOX = picture(3, 48, 32)


def buttons_under(message):
    return [button["text"] for row in message["reply_markup"]["inline_keyboard"] for button in row]


async def job_of(town, message):
    ref = f"{message['chat']['id']}:{message['message_id']}"
    return await town.house.usecases.chat.of_message("telegram", ref)


async def test_a_waiting_job_has_one_button_and_a_picture_all_of_its_own(town, chat, ann):
    town.world.say(chat, ann, "/imagine a slow fox")
    placeholder = await town.answer(chat)
    before = buttons_under(placeholder)
    town.pool.go_on.set()
    finished = await town.picture(chat)

    assert before == ["Cancel"]
    assert buttons_under(finished) == ["Reroll", "Vary", "Upscale", "Ask", "Original", "Delete"]
    assert all(len(row) <= 3 for row in finished["reply_markup"]["inline_keyboard"])


async def test_reroll_makes_another_with_another_seed(town, chat, ann):
    made = await town.imagined(chat, ann, "a fox --seed 7 --steps 3")
    answer = await town.answered(town.world.press(made, town.world.button(made, "reroll"), ann))
    again = await town.picture(chat, 2)

    assert not answer.get("text")
    first, second = (await job_of(town, made)), (await job_of(town, again))
    assert second.options["seed"] != 7
    assert (second.options["prompt"], second.options["steps"], second.parent) == ("a fox", 3, first.id)
    assert again["reply_to_message"]["message_id"] == made["message_id"]


async def test_vary_starts_from_the_picture(town, chat, ann):
    made = await town.imagined(chat, ann)
    town.world.press(made, town.world.button(made, "vary"), ann)
    varied = await job_of(town, await town.picture(chat, 2))

    assert varied.options["strength"] == 0.5
    assert varied.images[0].id == (await job_of(town, made)).result.media[0].id


async def test_somebody_elses_reroll_is_theirs(town, group, ann, bob):
    made = await town.imagined(group, ann)
    town.world.press(made, town.world.button(made, "reroll"), bob)
    again = await job_of(town, await town.picture(group, 2))

    assert again.owner == (await town.house.usecases.people.identify("telegram", str(bob["id"]), "Bob")).id


async def test_original_sends_the_file_as_rendered_and_a_reply_to_it_is_about_it(town, chat, ann):
    made = await town.imagined(chat, ann)
    town.world.press(made, town.world.button(made, "original"), ann)
    sent = await town.answer(chat, 2)
    job = await job_of(town, made)
    await town.until(lambda: town.server.called("sendDocument", chat["id"]))
    await town.quiet(0.1)
    town.world.say(chat, ann, "what is it?", reply_to=sent)
    await town.text(chat, "It is what is it?", 3)

    rendered = await town.storage.media.read(job.result.media[0].id, None)
    assert sent["original"] == rendered.data
    assert rendered.data.startswith(b"\x89PNG")


async def test_originals_of_several_pictures_come_as_one_album(town, chat, ann):
    made = await town.imagined(chat, ann, "a fox --count 3")
    town.world.press(made, town.world.button(made, "original"), ann)

    await town.until(lambda: len(town.world.shown(chat)) == 4)
    assert len(town.server.called("sendMediaGroup", chat["id"])) == 1


async def test_cancel_stops_ones_own_job_and_the_message_says_so(town, chat, ann):
    town.world.say(chat, ann, "/imagine a slow fox")
    placeholder = await town.answer(chat)
    await town.answered(town.world.press(placeholder, town.world.button(placeholder, "cancel"), ann))

    cancelled = await town.text(chat, "Cancelled")
    assert cancelled["message_id"] == placeholder["message_id"]
    assert buttons_under(cancelled) == ["Reroll"]


async def test_nobody_cancels_somebody_elses_job(town, group, ann, bob):
    town.world.say(group, ann, "/imagine a slow fox")
    placeholder = await town.answer(group)
    answer = await town.answered(town.world.press(placeholder, town.world.button(placeholder, "cancel"), bob))
    town.pool.go_on.set()

    assert answer["show_alert"] is True
    assert "Only" in answer["text"]
    await town.picture(group)


async def test_delete_takes_the_message_and_the_picture_away(town, chat, ann):
    made = await town.imagined(chat, ann, "a fox to be deleted")
    await town.answered(town.world.press(made, town.world.button(made, "delete"), ann))
    town.world.say(chat, ann, "/history deleted")

    assert "Nothing" in words_of(await town.answer(chat, 1))
    assert (await job_of(town, made)) is None or (await job_of(town, made)).result is None


async def test_delete_takes_the_originals_away_too(town, chat, ann):
    made = await town.imagined(chat, ann, "a fox --count 2")
    town.world.press(made, town.world.button(made, "original"), ann)
    await town.until(lambda: len(town.world.shown(chat)) == 3)
    job = await job_of(town, made)
    await town.until(lambda: len(town.server.called("sendMediaGroup", chat["id"])) == 1)
    await town.quiet(0.1)
    assert len(await town.house.usecases.chat.messages_of(job.id, "telegram")) == 3
    await town.answered(town.world.press(made, town.world.button(made, "delete"), ann))

    await town.until(lambda: town.world.shown(chat) == [])


async def test_what_telegram_no_longer_deletes_is_emptied(town, chat, ann):
    made = await town.imagined(chat, ann)
    town.world.now(made)["is_old"] = True
    town.world.press(made, town.world.button(made, "delete"), ann)

    emptied = await town.text(chat, "Deleted.")
    assert emptied["message_id"] == made["message_id"]
    assert "reply_markup" not in emptied


async def test_a_delete_forged_from_ones_own_job_takes_nobody_elses_message_away(town, group, ann, bob):
    theirs = await town.imagined(group, ann)
    own = await job_of(town, await town.imagined(group, bob))
    answer = await town.answered(town.world.press(theirs, f"v1:delete:{own.id}", bob))

    assert "not one of mine" in answer["text"]
    assert "photo" in town.world.now(theirs)
    assert len(town.world.shown(group)) == 2


async def test_nobody_deletes_somebody_elses_picture(town, group, ann, bob):
    made = await town.imagined(group, ann)
    answer = await town.answered(town.world.press(made, town.world.button(made, "delete"), bob))

    assert answer["show_alert"] is True
    assert town.world.now(made)


async def test_a_failed_job_can_be_tried_again(town, chat, ann):
    town.world.say(chat, ann, "/imagine fail")
    failed = await town.text(chat, "you weren't charged")

    assert buttons_under(failed) == ["Reroll"]


FORGED = [
    "", "v1:reroll", "v1:reroll:aaaaaaaaaaaaaaaa", "v2:reroll:aaaaaaaaaaaaaaaa", "v1:cancel:aaaaaaaaaaaaaaaa", "\u0000",
    "x" * 64, "v1:pick:aaaaaaaaaaaaaaaa:9", "v1:delete:../../etc/passwd", "own:forget", "\U0001f98a" * 16,
]  # fmt: skip


async def test_a_forged_press_gets_a_polite_answer_and_does_nothing(town, chat, ann):
    made = await town.imagined(chat, ann)
    jobs = town.pool.imagined
    answers = [await town.answered(town.world.press(made, data, ann)) for data in FORGED]
    await town.quiet(0.1)

    assert all(answer["text"] for answer in answers)
    assert town.pool.imagined == jobs
    assert len(town.world.shown(chat)) == 1


async def test_a_real_button_under_a_message_of_another_chat_does_nothing(town, chat, ann, bob):
    """Whoever knows a job's name (from a forwarded message, say) has not seen its message here."""
    made = await town.imagined(chat, ann)
    elsewhere = town.world.private(bob)
    other = await town.imagined(elsewhere, bob)
    data = town.world.button(made, "original")
    answer = await town.answered(town.world.press(other, data, bob))
    await town.quiet(0.1)

    assert answer["text"]
    assert len(town.world.shown(elsewhere)) == 1


async def test_a_press_that_comes_twice_makes_one_job(town, chat, ann):
    made = await town.imagined(chat, ann)
    town.world.press(made, town.world.button(made, "reroll"), ann)
    again = dict(town.world.updates[-1])
    await town.picture(chat, 2)
    town.world.updates.append(again)
    town.world.arrived.set()
    await town.quiet()

    assert len(town.world.shown(chat)) == 2


async def test_a_button_under_a_message_that_telegram_no_longer_shows_works(town, chat, ann):
    made = await town.imagined(chat, ann)
    data = town.world.button(made, "reroll")
    hidden = {"chat": made["chat"], "message_id": made["message_id"]}
    town.world.remove(made)
    town.world.press(hidden, data, ann)

    await town.picture(chat, 1)


async def test_a_press_whose_answer_comes_too_late_still_works(town, chat, ann):
    made = await town.imagined(chat, ann)
    query = town.world.press(made, town.world.button(made, "reroll"), ann)
    town.world.queries[query] = {"late": True}

    await town.picture(chat, 2)


async def test_a_press_under_an_inline_message_is_answered(town, ann):
    town.world.queries["inline"] = None
    query = {
        "id": "inline",
        "from": ann,
        "chat_instance": "1",
        "inline_message_id": "x",
        "data": "v1:reroll:aaaaaaaaaaaaaaaa",
    }
    town.world.tell(callback_query=query)

    assert (await town.answered("inline"))["text"]


async def test_a_hidden_picture_gives_a_hidden_reroll(town, chat, ann):
    town.world.show(chat, ann, FOX, "/imagine a fox", has_media_spoiler=True)
    made = await town.picture(chat)
    town.world.press(made, town.world.button(made, "reroll"), ann)

    assert (await town.picture(chat, 2))["has_media_spoiler"] is True


async def test_describe_offers_each_of_its_prompts(town, chat, ann):
    town.world.show(chat, ann, FOX, "/describe")
    described = await town.text(chat, "a fox, number 1")
    town.world.press(described, town.world.button(described, "pick"), ann)
    made = await town.picture(chat, 2)

    assert has_button(described, "pick")
    assert "a fox, number 1" in made["caption"]


async def test_upscale_makes_it_twice_as_large(town, chat, ann):
    made = await town.imagined(chat, ann)
    town.world.press(made, town.world.button(made, "upscale"), ann)
    larger = await town.picture(chat, 2)

    picture_of = (await job_of(town, larger)).result.media[0]
    assert (picture_of.width, picture_of.height) == (128, 128)


async def test_edit_changes_the_picture_as_the_reply_says(town, chat, ann):
    made = await town.imagined(chat, ann)
    town.world.say(chat, ann, "make it blue", reply_to=made)
    offer = await town.answer(chat, 2)
    town.world.press(offer, town.world.button(offer, "edit"), ann)

    edited = await town.until(
        lambda: next((one for one in town.world.shown(chat)[1:] if has_button(one, "original")), None)
    )
    assert (await job_of(town, edited)).options["prompt"] == "make it blue"
