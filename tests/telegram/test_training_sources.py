"""Nothing that first came through Telegram, and nothing made from it, enters training, also of a linked person."""

import pytest

from tests.training_sources import assert_nothing_enters_training
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_no_way_in_leads_to_training(app, chat, group, ann, bob):
    usecases = app.application.usecases
    code = (await usecases.links.create_code(await usecases.people.named_person("ann at home"))).text
    person = await usecases.people.identify_account("telegram", str(ann["id"]), "Ann")
    await usecases.links.link(person, "telegram:ann", code)
    app.pool.go_on.set()
    app.state.send_photo(chat, ann, picture(31, 48, 32), "what is this?")
    asked = await app.message_with(chat, "It is what is this?")
    app.state.send_message(chat, ann, "/ask and its colour?", reply_to=asked)
    await app.message_with(chat, "colour", 2)
    document = app.state.document(picture(32, 48, 32), "fox.png", "image/png")
    app.state.send_message(chat, ann, document=document, caption="/caption")
    await app.message_with(chat, "It is a picture", 3)
    app.state.album(chat, ann, [picture(33, 48, 32), picture(34, 48, 32)], "/caption")
    await app.message_with(chat, "picture", 4)
    shown = app.state.send_photo(group, bob, picture(35, 48, 32))
    app.state.send_message(group, ann, "/caption", reply_to=shown)
    await app.message_with(group, "It is a picture")
    made = await app.imagine_and_wait(chat, ann)
    app.state.press(made, app.state.button(made, "vary"), ann)
    await app.finished_picture(chat, 6)
    linked = await usecases.people.identify_account("telegram", str(ann["id"]), "Ann")
    platforms = await assert_nothing_enters_training(app.application, linked)

    assert platforms == {"telegram"}
