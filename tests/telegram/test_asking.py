"""Asking for pictures and answers: commands, captions, albums, replies at any depth."""

import pytest

from bot.models import IMAGE_TEXT_TO_IMAGE, TASKS
from tests.telegram.easel_fixture import words_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOX = picture(3, 48, 32)
OWL = picture(4, 48, 32)


def number_of(message):
    return message["message_id"]


# ---------------------------------------------------------------- one message a job


async def test_the_placeholder_says_where_the_job_stands_and_becomes_the_picture(town, chat, ann):
    asked = town.world.say(chat, ann, "/imagine a slow fox --seed 7")

    placeholder = await town.answer(chat)
    town.pool.go_on.set()
    finished = await town.picture(chat)

    assert number_of(placeholder) == number_of(finished)
    assert words_of(town.world.history[chat["id"], number_of(placeholder)][0]).startswith(("Queued", "Working"))
    assert number_of(placeholder["reply_to_message"]) == number_of(asked)
    assert "a slow fox" in finished["caption"]
    assert "seed 7" in finished["caption"]
    assert len(town.world.shown(chat)) == 1


async def test_progress_shows_a_small_preview_with_nothing_but_cancel_under_it(town, chat, ann):
    town.world.say(chat, ann, "/imagine a slow fox")

    def preview():
        return next((one for one in town.world.shown(chat) if "photo" in one and "Working" in words_of(one)), None)

    shown = await town.until(preview)
    town.pool.go_on.set()
    await town.picture(chat)

    buttons = [button for row in shown["reply_markup"]["inline_keyboard"] for button in row]
    assert [button["text"] for button in buttons] == ["Cancel"]
    assert shown["photo"][-1]["width"] <= 64


async def test_options_are_flags(town, chat, ann):
    town.world.say(
        chat, ann, "/imagine a fox --steps 3 --size 128x64 --guidance 2 --negative grass and trees --count 2"
    )
    finished = await town.picture(chat)

    job = (await town.house.usecases.chat.of_message("telegram", f"{chat['id']}:{number_of(finished)}")).options
    assert (job["steps"], job["width"], job["height"], job["count"]) == (3, 128, 64, 2)
    assert job["negative_prompt"] == "grass and trees"


async def test_several_pictures_come_as_one_grid_with_buttons(town, chat, ann):
    finished = await town.imagined(chat, ann, "a fox --count 4")

    assert len(town.world.shown(chat)) == 1
    assert finished["photo"][-1]["width"] >= 128
    assert town.world.button(finished, "original")


async def test_a_command_may_be_written_over_several_lines_and_in_capitals(town, chat, ann):
    town.world.say(chat, ann, "/IMAGINE\na fox\nin the snow")

    assert "a fox in the snow" in (await town.picture(chat))["caption"]


# ---------------------------------------------------------------- pictures of people's own


async def test_a_photo_whose_caption_is_a_command_is_captioned(town, chat, ann):
    town.world.show(chat, ann, FOX, "/caption")

    await town.text(chat, "It is a picture")


async def test_a_photo_whose_caption_is_a_verb_is_captioned(town, chat, ann):
    town.world.show(chat, ann, FOX, "caption")

    await town.text(chat, "It is a picture")


async def test_a_photo_whose_caption_is_a_question_is_asked_about(town, chat, ann):
    town.world.show(chat, ann, FOX, "What is this?")

    await town.text(chat, "It is What is this?")


async def test_a_picture_sent_as_a_file_is_a_picture(town, chat, ann):
    document = town.world.document(FOX, "fox.png", "image/png")
    town.world.say(chat, ann, document=document, caption="/ask who is it?")

    await town.text(chat, "It is who is it?")


async def test_a_photo_with_a_prompt_is_where_the_picture_starts_from(town, chat, ann):
    town.world.show(chat, ann, FOX, "/imagine an oil painting --strength 0.4")
    finished = await town.picture(chat)

    job = await town.house.usecases.chat.of_message("telegram", f"{chat['id']}:{number_of(finished)}")
    assert (len(job.images), job.options["strength"]) == (1, 0.4)


async def test_the_largest_size_of_a_photo_is_taken(town, chat, ann):
    shown = town.world.show(chat, ann, picture(21, 48, 32), "what is it?")
    await town.text(chat, "It is")

    assert shown["photo"][-1]["file_id"] in town.server.fetched
    assert shown["photo"][0]["file_id"] not in town.server.fetched


async def test_a_question_about_a_replied_photo_fetches_it_once_however_often_it_is_asked(town, chat, ann, group, bob):
    shown = town.world.show(group, bob, picture(22, 48, 32))
    for number, question in enumerate(("who?", "where?", "why?"), 1):
        town.world.say(group, ann, f"/ask {question}", reply_to=shown)
        await town.text(group, f"It is {question}", number)
    town.world.say(group, bob, "/ask when?", reply_to=shown)
    await town.text(group, "It is when?", 4)

    assert town.server.fetched.count(shown["photo"][-1]["file_id"]) == 1


async def test_the_same_photo_sent_again_is_not_fetched_again(town, chat, ann):
    data = picture(99, 40, 40)
    first = town.world.show(chat, ann, data, "who is it?")
    await town.text(chat, "It is", 1)
    second = town.world.show(chat, ann, data, "what is it?")
    await town.text(chat, "It is what", 2)

    fetched = [
        one for one in town.server.fetched if one in (first["photo"][-1]["file_id"], second["photo"][-1]["file_id"])
    ]
    assert len(fetched) == 1


async def test_somebody_elses_photo_is_captioned_on_request(town, group, ann, bob):
    shown = town.world.show(group, bob, FOX)
    town.world.say(group, ann, "/caption", reply_to=shown)

    await town.text(group, "It is a picture")


async def test_a_photo_in_a_message_from_another_chat_is_asked_about(town, chat, ann):
    photo = town.world.photo_sizes(FOX)
    origin = {"type": "hidden_user", "date": 1, "sender_user_name": "Eve"}
    town.world.say(chat, ann, "/ask what is it?", external_reply={"origin": origin, "photo": photo})

    await town.text(chat, "It is what is it?")


async def test_a_hidden_photo_gives_a_hidden_picture(town, chat, ann):
    town.world.show(chat, ann, FOX, "/imagine a fox", has_media_spoiler=True)

    assert (await town.picture(chat))["has_media_spoiler"] is True


async def test_a_prompt_hidden_by_its_writer_gives_a_hidden_picture(town, chat, ann):
    spoiler = {"type": "spoiler", "offset": 9, "length": 5}
    town.world.say(chat, ann, "/imagine a fox", entities=[spoiler])

    assert (await town.picture(chat))["has_media_spoiler"] is True


async def test_other_pictures_are_not_hidden(town, chat, ann):
    assert "has_media_spoiler" not in await town.imagined(chat, ann)


# ---------------------------------------------------------------- albums


async def test_an_album_is_one_request(town, chat, ann):
    town.world.album(chat, ann, [FOX, OWL, picture(5, 40, 40)], "/caption")
    await town.text(chat, "3. ")
    await town.quiet(0.5)

    assert len(town.world.shown(chat)) == 1


async def test_of_an_album_a_command_takes_as_many_as_it_can(town, chat, ann):
    town.world.album(chat, ann, [FOX, OWL], "/imagine an oil painting")
    await town.picture(chat)
    await town.quiet(0.5)

    assert len(town.world.shown(chat)) == 1


async def test_an_album_is_edited_at_its_first_with_the_others_to_refer_to(town, chat, ann):
    town.world.album(chat, ann, [FOX, OWL], "/edit put them together")
    made = await town.picture(chat)

    job = await town.house.usecases.chat.of_message("telegram", f"{chat['id']}:{number_of(made)}")
    assert [image.role for image in job.images] == ["init", "reference"]
    assert job.images[0].id != job.images[1].id


async def test_a_reply_edits_the_first_of_several_that_were_made(town, chat, ann):
    made = await town.imagined(chat, ann, "a fox --count 2")
    town.world.say(chat, ann, "/edit make it blue", reply_to=made)
    edited = await town.picture(chat, 2)

    job = await town.house.usecases.chat.of_message("telegram", f"{chat['id']}:{number_of(edited)}")
    first = await town.house.usecases.chat.job(job.parent)
    assert [image.id for image in job.images] == [first.result.media[0].id]


async def test_an_album_may_be_asked_about(town, chat, ann):
    town.world.album(chat, ann, [FOX, OWL], "what is it?")

    await town.text(chat, "")
    await town.quiet(0.5)

    assert len(town.world.shown(chat)) == 1


async def test_a_part_of_an_album_that_comes_too_late_is_left_out_in_silence(town, chat, ann):
    first, *_ = town.world.album(chat, ann, [FOX, OWL], "/caption")
    await town.answer(chat)
    town.world.show(chat, ann, picture(8, 30, 30), media_group_id=first["media_group_id"])
    await town.quiet(0.6)

    assert len(town.world.shown(chat)) == 1


async def test_an_album_among_people_is_none_of_our_business(town, group, ann):
    town.world.album(group, ann, [FOX, OWL], "look at these")
    await town.quiet(0.6)

    assert town.world.shown(group) == []


# ---------------------------------------------------------------- replies


async def test_a_reply_to_an_answer_asks_again_about_the_same_picture_at_any_depth(town, chat, ann):
    town.world.show(chat, ann, FOX, "what is it?")
    answer = await town.text(chat, "It is what is it?")
    fetched = len(town.server.fetched)
    for number, question in enumerate(("is it red?", "is it old?", "is it alive?"), 2):
        town.world.say(chat, ann, question, reply_to=answer)
        answer = await town.text(chat, f"It is {question}", number)

    assert len(town.server.fetched) == fetched
    assert town.server.called("send(Photo|Document)|editMessageMedia", chat["id"]) == []


async def test_a_reply_to_a_picture_of_the_bots_own_asks_about_it(town, chat, ann):
    made = await town.imagined(chat, ann)
    sent = len(town.server.called("editMessageMedia", chat["id"]))
    town.world.say(chat, ann, "is it a fox?", reply_to=made)
    await town.text(chat, "It is is it a fox?", 2)

    assert len(town.server.called("editMessageMedia", chat["id"])) == sent
    assert not [one for one in town.server.fetched if one == made["photo"][-1]["file_id"]]


async def test_somebody_elses_question_about_an_answer_is_on_their_own_account(town, group, ann, bob):
    made = await town.imagined(group, ann)
    town.world.say(group, bob, "what is it?", reply_to=made)
    await town.text(group, "It is what is it?", 2)

    job = await town.house.usecases.chat.of_message(
        "telegram", f"{group['id']}:{number_of(town.world.shown(group)[1])}"
    )
    person = await town.house.usecases.people.identify("telegram", str(bob["id"]), "Bob")
    assert job.owner == person.id


async def test_a_command_in_reply_to_a_picture_of_the_bots_own_is_about_it(town, group, ann, bob):
    made = await town.imagined(group, ann)
    town.world.say(group, bob, "/caption", reply_to=made)
    await town.text(group, "It is a picture", 2)

    assert made["photo"][-1]["file_id"] not in town.server.fetched


async def test_several_pictures_from_one_prompt_are_confirmed_first(town, chat, ann):
    town.world.say(chat, ann, "/imagine a {red|blue} fox")
    told = await town.text(chat, "This makes 2 pictures")
    town.world.say(chat, ann, "/imagine a {red|blue} fox --steps 2 --confirm")

    assert "--confirm" in words_of(told)
    await town.until(lambda: sum("photo" in one for one in town.world.shown(chat)) == 2)
    shown = " ".join(words_of(one) for one in town.world.shown(chat) if "photo" in one)
    assert "a red fox" in shown
    assert "a blue fox" in shown


async def test_only_a_question_is_offered_where_no_model_edits(town, chat, ann, monkeypatch):
    made = await town.imagined(chat, ann)
    models = town.house.usecases.models
    able = {task: models.default_for(task) for task in TASKS if task != IMAGE_TEXT_TO_IMAGE}
    monkeypatch.setattr(models, "default_for", able.get)
    town.world.say(chat, ann, "make it blue", reply_to=made)
    offer = await town.answer(chat, 2)

    assert "No model here changes pictures" in words_of(offer)
    assert len(offer["reply_markup"]["inline_keyboard"][0]) == 1


async def test_a_reply_that_is_no_question_is_offered_edit_or_ask(town, chat, ann):
    made = await town.imagined(chat, ann)
    town.world.say(chat, ann, "make it blue", reply_to=made)
    offer = await town.answer(chat, 2)

    assert town.world.button(offer, "edit")
    assert town.world.button(offer, "ask")


async def test_the_offer_to_ask_takes_the_words_that_were_said(town, chat, ann):
    made = await town.imagined(chat, ann)
    town.world.say(chat, ann, "the colour of the sky", reply_to=made)
    offer = await town.answer(chat, 2)
    await town.answered(town.world.press(offer, town.world.button(offer, "ask"), ann))

    await town.until(lambda: any("It is the colour of the sky" in words_of(one) for one in town.world.shown(chat)))
    assert number_of(offer) not in [number_of(one) for one in town.world.shown(chat)]


async def test_asking_by_the_button_takes_the_reply_as_the_question_whatever_it_is(town, chat, ann):
    made = await town.imagined(chat, ann)
    town.world.press(made, town.world.button(made, "ask"), ann)
    prompt = await town.text(chat, "your question", 2)
    town.world.say(chat, ann, "its colour", reply_to=prompt)

    await town.text(chat, "It is its colour", 3)


# ---------------------------------------------------------------- groups, topics, names


async def test_a_command_may_name_the_bot(town, group, ann):
    town.world.say(group, ann, "/imagine@EaselTestBot a fox")

    await town.picture(group)


@pytest.mark.parametrize(
    "text", ["/imagine@OtherBot a fox", "/start@OtherBot", "/unknown", "/kick bob", "hello all", "what is this?"]
)
async def test_what_is_meant_for_others_in_a_group_is_met_with_silence(town, group, ann, text):
    town.world.say(group, ann, text)
    await town.quiet()

    assert town.world.shown(group) == []


async def test_a_question_under_a_photo_among_people_is_for_people(town, group, ann):
    town.world.show(group, ann, FOX, "Isn't she lovely?")
    await town.quiet()

    assert town.world.shown(group) == []


async def test_the_bots_name_makes_a_question_its_own(town, group, ann):
    name = {"type": "mention", "offset": 0, "length": 13}
    town.world.show(group, ann, FOX, "@EaselTestBot what is this?", caption_entities=[name])

    await town.text(group, "It is what is this?")


async def test_a_topic_keeps_its_answers(town, ann):
    forum = town.world.group("Forum", is_forum=True)
    town.world.say(forum, ann, "/imagine a fox", message_thread_id=77, is_topic_message=True)
    made = await town.picture(forum)

    assert made["message_thread_id"] == 77


async def test_a_deleted_topic_does_not_lose_the_answer(town, ann):
    forum = town.world.group("Forum")
    town.world.say(forum, ann, "/imagine a fox", message_thread_id=78, is_topic_message=True)

    assert "message_thread_id" not in await town.picture(forum)


async def test_the_thread_number_of_replies_is_no_topic(town, group, ann):
    town.world.say(group, ann, "/imagine a fox", message_thread_id=12)
    await town.picture(group)

    assert all("message_thread_id" not in call.params for call in town.server.called("sendMessage", group["id"]))


async def test_an_admin_who_hides_behind_the_group_is_answered(town, group):
    hidden = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
    town.world.say(group, hidden, "/imagine a fox", sender_chat=group)

    await town.picture(group)


async def test_answers_are_in_the_language_of_who_asked(town, group):
    person = town.world.person("Dora", "xx-nowhere")
    town.world.say(group, person, "/imagine a fox")

    await town.picture(group)
