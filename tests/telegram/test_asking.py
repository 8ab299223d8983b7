"""Asking for pictures and answers: commands, captions, albums, replies at any depth."""

import re

import pytest

from bot.models import IMAGE_TEXT_TO_IMAGE, TASKS
from tests.telegram.easel_fixture import has_button, text_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOX = picture(3, 48, 32)
OWL = picture(4, 48, 32)


def number_of(message):
    return message["message_id"]


# ---------------------------------------------------------------- one message a job


async def test_the_placeholder_says_where_the_job_stands_and_becomes_the_picture(app, chat, ann):
    asked = app.state.send_message(chat, ann, "/imagine a slow fox --seed 7")

    placeholder = await app.bot_message(chat)
    app.pool.go_on.set()
    finished = await app.finished_picture(chat)

    assert number_of(placeholder) == number_of(finished)
    first_text = text_of(app.state.history[chat["id"], number_of(placeholder)][0])
    assert first_text.startswith(("In the queue", "Starting", "Working"))
    assert number_of(placeholder["reply_to_message"]) == number_of(asked)
    assert "a slow fox" in finished["caption"]
    assert "seed 7" in finished["caption"]
    assert len(app.state.bot_messages(chat)) == 1


async def test_progress_shows_a_small_preview_with_nothing_but_cancel_under_it(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine a slow fox")

    def preview():
        return next((one for one in app.state.bot_messages(chat) if "photo" in one and "Working" in text_of(one)), None)

    shown = await app.until(preview)
    app.pool.go_on.set()
    await app.finished_picture(chat)

    buttons = [button for row in shown["reply_markup"]["inline_keyboard"] for button in row]
    assert [button["text"] for button in buttons] == ["Cancel"]
    assert shown["photo"][-1]["width"] <= 64


async def test_an_answer_grows_in_its_message_with_nothing_but_cancel_under_it(app, chat, ann):
    app.state.send_photo(chat, ann, FOX, "/ask slow it is")

    def first_words():
        return next((one for one in app.state.bot_messages(chat) if "It is\u2026" in text_of(one)), None)

    shown = await app.until(first_words)
    app.pool.go_on.set()
    await app.until(lambda: "It is slow it is" in text_of(app.state.bot_messages(chat)[0]))

    buttons = [button for row in shown["reply_markup"]["inline_keyboard"] for button in row]
    assert (text_of(shown), [button["text"] for button in buttons]) == ("slow it is\nIt is\u2026", ["Cancel"])


async def test_a_model_that_loads_is_told_with_the_time_left(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine a fox loads --steps 8")

    def loading():
        return next((one for one in app.state.bot_messages(chat) if "Loading" in text_of(one)), None)

    shown = text_of(await app.until(loading))
    app.pool.go_on.set()
    finished = await app.finished_picture(chat)

    assert re.match(r"Loading the model, about \d\d s left\.", shown)
    assert "Loading" not in finished["caption"]


async def test_options_are_flags(app, chat, ann):
    app.state.send_message(
        chat, ann, "/imagine a fox --steps 3 --size 128x64 --guidance 2 --negative grass and trees --count 2"
    )
    finished = await app.finished_picture(chat)

    job = (
        await app.application.usecases.chat.job_of_message("telegram", f"{chat['id']}:{number_of(finished)}")
    ).options
    assert (job["steps"], job["width"], job["height"], job["count"]) == (3, 128, 64, 2)
    assert job["negative_prompt"] == "grass and trees"


async def test_several_pictures_come_as_one_grid_with_buttons(app, chat, ann):
    finished = await app.imagine_and_wait(chat, ann, "a fox --count 4")

    assert len(app.state.bot_messages(chat)) == 1
    assert finished["photo"][-1]["width"] >= 128
    assert app.state.button(finished, "original")


async def test_a_command_may_be_written_over_several_lines_and_in_capitals(app, chat, ann):
    app.state.send_message(chat, ann, "/IMAGINE\na fox\nin the snow")

    assert "a fox in the snow" in (await app.finished_picture(chat))["caption"]


# ---------------------------------------------------------------- pictures of people's own


async def test_a_photo_whose_caption_is_a_command_is_captioned(app, chat, ann):
    app.state.send_photo(chat, ann, FOX, "/caption")

    await app.message_with(chat, "It is a picture")


async def test_a_photo_whose_caption_is_a_verb_is_captioned(app, chat, ann):
    app.state.send_photo(chat, ann, FOX, "caption")

    await app.message_with(chat, "It is a picture")


async def test_a_photo_whose_caption_is_a_question_is_asked_about(app, chat, ann):
    app.state.send_photo(chat, ann, FOX, "What is this?")

    await app.message_with(chat, "It is What is this?")


async def test_a_picture_sent_as_a_file_is_a_picture(app, chat, ann):
    document = app.state.document(FOX, "fox.png", "image/png")
    app.state.send_message(chat, ann, document=document, caption="/ask who is it?")

    await app.message_with(chat, "It is who is it?")


async def test_a_photo_with_a_prompt_is_where_the_picture_starts_from(app, chat, ann):
    app.state.send_photo(chat, ann, FOX, "/imagine an oil painting --strength 0.4")
    finished = await app.finished_picture(chat)

    job = await app.application.usecases.chat.job_of_message("telegram", f"{chat['id']}:{number_of(finished)}")
    assert (len(job.images), job.options["strength"]) == (1, 0.4)


async def test_the_largest_size_of_a_photo_is_taken(app, chat, ann):
    shown = app.state.send_photo(chat, ann, picture(21, 48, 32), "what is it?")
    await app.message_with(chat, "It is")

    assert shown["photo"][-1]["file_id"] in app.server.fetched
    assert shown["photo"][0]["file_id"] not in app.server.fetched


async def test_a_question_about_a_replied_photo_fetches_it_once_however_often_it_is_asked(app, chat, ann, group, bob):
    shown = app.state.send_photo(group, bob, picture(22, 48, 32))
    for number, question in enumerate(("who?", "where?", "why?"), 1):
        app.state.send_message(group, ann, f"/ask {question}", reply_to=shown)
        await app.message_with(group, f"It is {question}", number)
    app.state.send_message(group, bob, "/ask when?", reply_to=shown)
    await app.message_with(group, "It is when?", 4)

    assert app.server.fetched.count(shown["photo"][-1]["file_id"]) == 1


async def test_the_same_photo_sent_again_is_not_fetched_again(app, chat, ann):
    data = picture(99, 40, 40)
    first = app.state.send_photo(chat, ann, data, "who is it?")
    await app.message_with(chat, "It is", 1)
    second = app.state.send_photo(chat, ann, data, "what is it?")
    await app.message_with(chat, "It is what", 2)

    fetched = [
        one for one in app.server.fetched if one in (first["photo"][-1]["file_id"], second["photo"][-1]["file_id"])
    ]
    assert len(fetched) == 1


async def test_somebody_elses_photo_is_captioned_on_request(app, group, ann, bob):
    shown = app.state.send_photo(group, bob, FOX)
    app.state.send_message(group, ann, "/caption", reply_to=shown)

    await app.message_with(group, "It is a picture")


async def test_a_photo_in_a_message_from_another_chat_is_asked_about(app, chat, ann):
    photo = app.state.photo_sizes(FOX)
    origin = {"type": "hidden_user", "date": 1, "sender_user_name": "Eve"}
    app.state.send_message(chat, ann, "/ask what is it?", external_reply={"origin": origin, "photo": photo})

    await app.message_with(chat, "It is what is it?")


async def test_a_hidden_photo_gives_a_hidden_picture(app, chat, ann):
    app.state.send_photo(chat, ann, FOX, "/imagine a fox", has_media_spoiler=True)

    assert (await app.finished_picture(chat))["has_media_spoiler"] is True


async def test_a_prompt_hidden_by_its_writer_gives_a_hidden_picture(app, chat, ann):
    spoiler = {"type": "spoiler", "offset": 9, "length": 5}
    app.state.send_message(chat, ann, "/imagine a fox", entities=[spoiler])

    assert (await app.finished_picture(chat))["has_media_spoiler"] is True


async def test_other_pictures_are_not_hidden(app, chat, ann):
    assert "has_media_spoiler" not in await app.imagine_and_wait(chat, ann)


# ---------------------------------------------------------------- albums


async def test_an_album_is_one_request(app, chat, ann):
    app.state.album(chat, ann, [FOX, OWL, picture(5, 40, 40)], "/caption")
    await app.message_with(chat, "3. ")
    await app.wait_until_idle(0.5)

    assert len(app.state.bot_messages(chat)) == 1


async def test_of_an_album_a_command_takes_as_many_as_it_can(app, chat, ann):
    app.state.album(chat, ann, [FOX, OWL], "/imagine an oil painting")
    await app.finished_picture(chat)
    await app.wait_until_idle(0.5)

    assert len(app.state.bot_messages(chat)) == 1


async def test_an_album_is_edited_at_its_first_with_the_others_to_refer_to(app, chat, ann):
    app.state.album(chat, ann, [FOX, OWL], "/edit put them together")
    made = await app.finished_picture(chat)

    job = await app.application.usecases.chat.job_of_message("telegram", f"{chat['id']}:{number_of(made)}")
    assert [image.role for image in job.images] == ["init", "reference"]
    assert job.images[0].id != job.images[1].id


async def test_a_reply_edits_the_first_of_several_that_were_made(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann, "a fox --count 2")
    app.state.send_message(chat, ann, "/edit make it blue", reply_to=made)
    edited = await app.finished_picture(chat, 2)

    job = await app.application.usecases.chat.job_of_message("telegram", f"{chat['id']}:{number_of(edited)}")
    first = await app.application.usecases.chat.get_job(job.parent)
    assert [image.id for image in job.images] == [first.result.media[0].id]


async def test_an_album_may_be_asked_about(app, chat, ann):
    app.state.album(chat, ann, [FOX, OWL], "what is it?")

    await app.message_with(chat, "")
    await app.wait_until_idle(0.5)

    assert len(app.state.bot_messages(chat)) == 1


async def test_a_part_of_an_album_that_comes_too_late_is_left_out_in_silence(app, chat, ann):
    first, *_ = app.state.album(chat, ann, [FOX, OWL], "/caption")
    await app.bot_message(chat)
    app.state.send_photo(chat, ann, picture(8, 30, 30), media_group_id=first["media_group_id"])
    await app.wait_until_idle(0.6)

    assert len(app.state.bot_messages(chat)) == 1


async def test_an_album_among_people_is_none_of_our_business(app, group, ann):
    app.state.album(group, ann, [FOX, OWL], "look at these")
    await app.wait_until_idle(0.6)

    assert app.state.bot_messages(group) == []


# ---------------------------------------------------------------- replies


async def test_a_reply_to_an_answer_asks_again_about_the_same_picture_at_any_depth(app, chat, ann):
    app.state.send_photo(chat, ann, FOX, "what is it?")
    answer = await app.message_with(chat, "It is what is it?")
    fetched = len(app.server.fetched)
    for number, question in enumerate(("is it red?", "is it old?", "is it alive?"), 2):
        app.state.send_message(chat, ann, question, reply_to=answer)
        answer = await app.message_with(chat, f"It is {question}", number)

    assert len(app.server.fetched) == fetched
    assert app.server.called("send(Photo|Document)|editMessageMedia", chat["id"]) == []
    thread = app.pool.tasks[-1].options["thread"]
    assert [turn["question"] for turn in thread] == ["what is it?", "is it red?", "is it old?"]
    assert thread[0]["answer"] == "It is what is it?"


async def test_a_reply_to_a_picture_of_the_bots_own_asks_about_it(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    sent = len(app.server.called("editMessageMedia", chat["id"]))
    app.state.send_message(chat, ann, "is it a fox?", reply_to=made)
    await app.message_with(chat, "It is is it a fox?", 2)

    assert len(app.server.called("editMessageMedia", chat["id"])) == sent
    assert not [one for one in app.server.fetched if one == made["photo"][-1]["file_id"]]


async def test_somebody_elses_question_about_an_answer_is_on_their_own_account(app, group, ann, bob):
    made = await app.imagine_and_wait(group, ann)
    app.state.send_message(group, bob, "what is it?", reply_to=made)
    await app.message_with(group, "It is what is it?", 2)

    job = await app.application.usecases.chat.job_of_message(
        "telegram", f"{group['id']}:{number_of(app.state.bot_messages(group)[1])}"
    )
    person = await app.application.usecases.people.identify_account("telegram", str(bob["id"]), "Bob")
    assert job.owner == person.id


async def test_a_command_in_reply_to_a_picture_of_the_bots_own_is_about_it(app, group, ann, bob):
    made = await app.imagine_and_wait(group, ann)
    app.state.send_message(group, bob, "/caption", reply_to=made)
    await app.message_with(group, "It is a picture", 2)

    assert made["photo"][-1]["file_id"] not in app.server.fetched


async def test_several_pictures_from_one_prompt_are_confirmed_first(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine a {red|blue} fox")
    told = await app.message_with(chat, "This makes 2 pictures")
    app.state.send_message(chat, ann, "/imagine a {red|blue} fox --steps 2 --confirm")

    assert "--confirm" in text_of(told)
    await app.until(lambda: sum(has_button(one, "original") for one in app.state.bot_messages(chat)) == 2)
    shown = " ".join(text_of(one) for one in app.state.bot_messages(chat) if "photo" in one)
    assert "a red fox" in shown
    assert "a blue fox" in shown


async def test_only_a_question_is_offered_where_no_model_edits(app, chat, ann, monkeypatch):
    made = await app.imagine_and_wait(chat, ann)
    models = app.application.usecases.models
    able = {task: models.default_for(task) for task in TASKS if task != IMAGE_TEXT_TO_IMAGE}
    monkeypatch.setattr(models, "default_for", able.get)
    app.state.send_message(chat, ann, "make it blue", reply_to=made)
    offer = await app.bot_message(chat, 2)

    assert "I can't edit pictures here" in text_of(offer)
    assert len(offer["reply_markup"]["inline_keyboard"][0]) == 1


async def test_a_reply_that_is_no_question_is_offered_edit_or_ask(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    app.state.send_message(chat, ann, "make it blue", reply_to=made)
    offer = await app.bot_message(chat, 2)

    assert app.state.button(offer, "edit")
    assert app.state.button(offer, "ask")


async def test_the_offer_to_ask_takes_the_words_that_were_said(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    app.state.send_message(chat, ann, "the colour of the sky", reply_to=made)
    offer = await app.bot_message(chat, 2)
    await app.callback_answer(app.state.press(offer, app.state.button(offer, "ask"), ann))

    await app.until(lambda: any("It is the colour of the sky" in text_of(one) for one in app.state.bot_messages(chat)))
    assert number_of(offer) not in [number_of(one) for one in app.state.bot_messages(chat)]


async def test_asking_by_the_button_takes_the_reply_as_the_question_whatever_it_is(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann)
    app.state.press(made, app.state.button(made, "ask"), ann)
    prompt = await app.message_with(chat, "your question", 2)
    app.state.send_message(chat, ann, "its colour", reply_to=prompt)

    await app.message_with(chat, "It is its colour", 3)


# ---------------------------------------------------------------- groups, topics, names


async def test_a_command_may_name_the_bot(app, group, ann):
    app.state.send_message(group, ann, "/imagine@EaselTestBot a fox")

    await app.finished_picture(group)


@pytest.mark.parametrize(
    "text", ["/imagine@OtherBot a fox", "/start@OtherBot", "/unknown", "/kick bob", "hello all", "what is this?"]
)
async def test_what_is_meant_for_others_in_a_group_is_met_with_silence(app, group, ann, text):
    app.state.send_message(group, ann, text)
    await app.wait_until_idle()

    assert app.state.bot_messages(group) == []


async def test_a_question_under_a_photo_among_people_is_for_people(app, group, ann):
    app.state.send_photo(group, ann, FOX, "Isn't she lovely?")
    await app.wait_until_idle()

    assert app.state.bot_messages(group) == []


async def test_the_bots_name_makes_a_question_its_own(app, group, ann):
    name = {"type": "mention", "offset": 0, "length": 13}
    app.state.send_photo(group, ann, FOX, "@EaselTestBot what is this?", caption_entities=[name])

    await app.message_with(group, "It is what is this?")


async def test_a_topic_keeps_its_answers(app, ann):
    forum = app.state.group("Forum", is_forum=True)
    app.state.send_message(forum, ann, "/imagine a fox", message_thread_id=77, is_topic_message=True)
    made = await app.finished_picture(forum)

    assert made["message_thread_id"] == 77


async def test_a_deleted_topic_does_not_lose_the_answer(app, ann):
    forum = app.state.group("Forum")
    app.state.send_message(forum, ann, "/imagine a fox", message_thread_id=78, is_topic_message=True)

    assert "message_thread_id" not in await app.finished_picture(forum)


async def test_the_thread_number_of_replies_is_no_topic(app, group, ann):
    app.state.send_message(group, ann, "/imagine a fox", message_thread_id=12)
    await app.finished_picture(group)

    assert all("message_thread_id" not in call.params for call in app.server.called("sendMessage", group["id"]))


async def test_an_admin_who_hides_behind_the_group_is_answered(app, group):
    hidden = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
    app.state.send_message(group, hidden, "/imagine a fox", sender_chat=group)

    await app.finished_picture(group)


async def test_answers_are_in_the_language_of_who_asked(app, group):
    person = app.state.person("Dora", "xx-nowhere")
    app.state.send_message(group, person, "/imagine a fox")

    await app.finished_picture(group)
