"""Plain sentences: "draw me a cat" and a picture with a sentence get an offer, and nothing is charged before."""

from typing import Any

import pytest

from bot.chat import texts as chat_texts
from bot.models import IMAGE_TEXT_TO_IMAGE, ModelRegistry
from tests.telegram.easel_fixture import text_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOX = picture(3, 48, 32)


def data_of(message: dict[str, Any]) -> list[str]:
    return [one["callback_data"] for row in message["reply_markup"]["inline_keyboard"] for one in row]


async def jobs_of(app: Any, person: dict[str, Any]) -> list[Any]:
    owner = await app.storage.people.identify_account("telegram", str(person["id"]), "")
    tickets, _ = await app.application.usecases.jobs.list_tickets(owner, limit=10)
    return [one.job for one in tickets]


@pytest.mark.parametrize("where", ["private", "group"])
async def test_draw_me_a_cat_offers_a_picture_and_makes_it_when_the_button_is_pressed(app, ann, where):
    there = app.state.private(ann) if where == "private" else app.state.group()
    words = "draw me a cat" if where == "private" else "@EaselTestBot draw me a cat"
    mention = [{"type": "mention", "offset": 0, "length": 13}]
    app.state.send_message(there, ann, words, **({"entities": mention} if where == "group" else {}))
    offer = await app.bot_message(there)
    before = await jobs_of(app, ann)
    app.state.press(offer, data_of(offer)[0], ann)
    made = await app.finished_picture(there)

    assert text_of(offer) == "Should I make a picture of this: a cat?"
    assert before == []
    assert made["caption"].startswith("a cat")


async def test_a_second_press_of_an_offer_makes_no_second_picture(app, chat, ann):
    app.state.send_message(chat, ann, "draw me a cat")
    offer = await app.bot_message(chat)
    for press in [app.state.press(offer, data_of(offer)[0], ann) for _ in range(2)]:
        await app.callback_answer(press)
    app.pool.go_on.set()
    await app.finished_picture(chat)
    await app.wait_until_idle(0)

    assert len(await jobs_of(app, ann)) == 1


@pytest.mark.parametrize("words", ["draw {red|blue} cats --seed 7 --confirm"])
async def test_the_flags_of_a_sentence_are_flags(app, chat, ann, words):
    app.state.send_message(chat, ann, words)
    offer = await app.bot_message(chat)
    await app.callback_answer(app.state.press(offer, data_of(offer)[0], ann))
    jobs = await jobs_of(app, ann)
    app.pool.go_on.set()
    await app.wait_until_idle(0)

    assert sorted(job.options["prompt"] for job in jobs) == ["blue cats", "red cats"]
    assert {job.options["seed"] for job in jobs} == {7}


async def test_a_style_may_be_named_in_the_words_of_an_offer(app, chat, ann):
    await app.imagine_and_wait(chat, ann)
    [first] = await jobs_of(app, ann)
    app.state.send_message(chat, ann, f"draw me a castle --style-of {first.id}")
    offer = await app.message_with(chat, "Should I make", 2)
    await app.callback_answer(app.state.press(offer, data_of(offer)[0], ann))
    styled = next(job for job in await jobs_of(app, ann) if job.id != first.id)
    app.pool.go_on.set()
    await app.wait_until_idle(0)

    assert [(image.id, image.kind) for image in styled.images] == [(first.result.media[0].id, "style")]
    assert styled.options["prompt"] == "a castle"


async def test_an_offer_that_lacks_its_picture_says_so(app, chat, ann):
    app.state.send_message(chat, ann, "draw me a castle --control canny")
    offer = await app.bot_message(chat)
    answer = await app.callback_answer(app.state.press(offer, data_of(offer)[0], ann))

    assert answer["text"] == "This needs a picture: attach one, or reply to one."
    assert await jobs_of(app, ann) == []


async def test_words_that_are_not_allowed_are_neither_quoted_nor_offered(app, chat, ann):
    app.state.send_message(chat, ann, "draw me a naked child")
    answer = await app.bot_message(chat)

    assert "naked" not in text_of(answer)
    assert "reply_markup" not in answer


async def test_the_person_who_presses_the_offer_asks_for_it(app, group, ann, bob):
    mention = [{"type": "mention", "offset": 0, "length": 13}]
    app.state.send_message(group, ann, "@EaselTestBot draw me a cat", entities=mention)
    offer = await app.bot_message(group)
    app.state.press(offer, data_of(offer)[0], bob)
    await app.finished_picture(group)

    assert len(await jobs_of(app, bob)) == 1
    assert await jobs_of(app, ann) == []


@pytest.mark.parametrize(("action", "command"), [("edit", "edit")])
async def test_a_photo_with_a_sentence_offers_both_readings(app, chat, ann, action, command):
    app.state.send_photo(chat, ann, FOX, "make it blue", has_media_spoiler=True)
    offer = await app.bot_message(chat)
    before = await jobs_of(app, ann)
    app.state.press(offer, next(one for one in data_of(offer) if f":{action}:" in one), ann)
    await app.until(lambda: app.state.bot_messages(chat) and app.state.bot_messages(chat)[0] is not offer)
    app.pool.go_on.set()
    await app.wait_until_idle(0)
    [job] = await jobs_of(app, ann)

    assert before == []
    assert job.command == command
    assert job.options.get("prompt") or job.options.get("question") == "make it blue"
    assert job.origin.extra["spoiler"]
    assert job.images[0].author == str(ann["id"])


@pytest.mark.parametrize("where", ["private", "group"])
async def test_where_no_model_can_edit_a_sentence_is_offered_as_a_question(app, chat, group, ann, where, monkeypatch):
    monkeypatch.setattr(ModelRegistry, "default_for", lambda _self, task: None if task == IMAGE_TEXT_TO_IMAGE else 1)
    there = chat if where == "private" else group
    mention = {"caption_entities": [{"type": "mention", "offset": 0, "length": 13}]} if where == "group" else {}
    app.state.send_photo(there, ann, FOX, f"{'@EaselTestBot ' if mention else ''}make it blue", **mention)
    offer = await app.bot_message(there)

    assert text_of(offer) == chat_texts.ONLY_ASK
    assert [data.split(":")[1] for data in data_of(offer)] == ["ask"]
    assert await jobs_of(app, ann) == []


async def test_a_sentence_about_the_photo_of_somebody_else_gets_a_hint_and_costs_nothing(app, group, ann, bob):
    photo = app.state.send_photo(group, bob, FOX)
    mention = [{"type": "mention", "offset": 0, "length": 13}]
    app.state.send_message(group, ann, "@EaselTestBot make it blue", entities=mention, reply_to=photo)

    assert "/edit" in text_of(await app.bot_message(group))
    assert await jobs_of(app, ann) == []


async def test_a_forged_press_stands_for_nothing(app, chat, ann):
    app.state.send_message(chat, ann, "/help")
    message = await app.bot_message(chat)
    answers = [
        await app.callback_answer(app.state.press(message, data, ann))
        for data in ("v1:edit:offeredinanswer2", "v1:pick:offeredinanswer2:1", "v1:delete:offeredinanswer2")
    ]

    assert {one["text"] for one in answers} == {"This button no longer works."}
    assert await jobs_of(app, ann) == []


async def test_a_question_whose_message_is_gone_is_not_guessed(app, chat, ann):
    sent = app.state.send_message(chat, ann, "draw me a cat")
    offer = await app.bot_message(chat)
    app.state.remove(sent)
    app.state.messages[chat["id"], offer["message_id"]].pop("reply_to_message")
    query = app.state.press(offer, data_of(offer)[0], ann)

    assert (await app.callback_answer(query))["text"] == "This button no longer works."


async def test_thanks_for_a_picture_are_not_taken_for_a_request(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann, "a fox")
    app.state.send_message(chat, ann, "thanks!", reply_to=made)
    app.state.send_message(chat, ann, "what is it?", reply_to=made)
    await app.message_with(chat, "It is what is it?", 2)

    assert len(app.state.bot_messages(chat)) == 2
