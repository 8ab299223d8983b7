"""What is shown where on Telegram, whose pictures may be edited, and who is an admin."""

from dataclasses import replace

import pytest
import pytest_asyncio

from bot.safety import SafetySettings
from tests.new_command import registered  # noqa: F401 - a fixture for all of this module
from tests.telegram.easel_fixture import MODELS, SCALE, build_app, has_button, text_of
from tests.telegram.server import run_bot_server
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOX = picture(3, 48, 32)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unchecked(tmp_path_factory):
    """An app without a classifier."""
    safety = SafetySettings(classifier="models/none", second_classifier="")
    async with (
        run_bot_server(scale=SCALE) as server,
        build_app(tmp_path_factory.mktemp("unchecked"), server, safety=safety) as app,
    ):
        app.pool.installed = False
        await app.open()
        yield app


async def choose(app, chat, **chosen):
    space = {"platform": "telegram", "space_id": str(chat["id"])}
    await app.application.usecases.moderation.set_policy(is_admin=True, **space, **chosen)


async def job_of(app, message):
    return await app.application.usecases.chat.job_of_message(
        "telegram", f"{message['chat']['id']}:{message['message_id']}"
    )


async def test_a_sexual_picture_is_deleted_with_a_calm_sentence(app, chat, ann):
    await choose(app, chat, policy="block")
    app.state.send_message(chat, ann, "/imagine a nude statue")

    message = await app.message_with(chat, "deleted")

    assert "weren't charged" in text_of(message)
    assert "photo" not in message


@pytest.mark.parametrize(("policy", "hidden"), [("spoiler", True), ("allow", False)])
async def test_a_chat_shows_it_as_it_wants(app, chat, ann, policy, hidden):
    await choose(app, chat, policy=policy)

    shown = await app.imagine_and_wait(chat, ann, "a nude statue")
    harmless = await app.imagine_and_wait(chat, ann, "a statue")

    assert [bool(one.get("has_media_spoiler")) for one in (shown, harmless)] == [hidden, False]


async def test_a_picture_that_one_chat_allows_is_not_shown_in_one_that_does_not(app, chat, group, ann):
    await choose(app, chat, policy="block")
    made = await app.imagine_and_wait(group, ann, "a nude statue")
    app.state.send_message(chat, ann, f"/show {(await job_of(app, made)).id[:8]}")

    message = await app.message_with(chat, "can't be shown here")

    assert "photo" not in message


async def test_a_failing_check_throws_the_picture_away(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine nan")

    assert "photo" not in await app.message_with(chat, "could not be checked")


async def test_a_preview_of_what_fails_the_check_goes_with_it(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine slow nan --steps 10")
    await app.until(lambda: any("photo" in one for one in app.state.bot_messages(chat)))
    app.pool.go_on.set()
    await app.until(lambda: any("could not be checked" in text_of(one) for one in app.state.bot_messages(chat)))
    await app.until(lambda: len(app.state.bot_messages(chat)) == 1)

    assert "photo" not in app.state.bot_messages(chat)[0]


async def test_blocked_words_and_a_missing_classifier(tmp_path, server):
    ann, bob = server.state.person("Ann"), server.state.person("Bob")
    chat, bobs = server.state.private(ann), server.state.private(bob)
    safety = SafetySettings(blocked_words=("broccoli",), classifier="models/none", second_classifier="")
    async with build_app(tmp_path, server, safety=safety) as app:
        await app.open(admins=(str(bob["id"]),))
        server.state.send_message(chat, ann, "/imagine unseen")
        refused = await app.message_with(chat, "ask an admin")
        server.state.send_message(chat, ann, "/imagine br0cc0li")
        blocked = await app.message_with(chat, "Please rephrase", 2)
        server.state.send_message(bobs, bob, "/imagine unseen")
        served = await app.finished_picture(bobs)

        assert (app.adapter.is_admin(str(bob["id"])), app.adapter.is_admin(str(ann["id"]))) == (True, False)

    assert "(Admins: easel models use paint installs it.)" in text_of(refused)
    assert "occoli" not in text_of(blocked)
    assert served["has_media_spoiler"] is True
    assert "not checked" in text_of(served)


@pytest.mark.parametrize(
    ("caption", "size", "is_demo"),
    [
        ("/imagine a fox", (48, 32), True),
        ("/edit a fox", (48, 32), True),
        ("/upscale", (48, 32), True),
        ("/upscale", (200, 200), False),  # refining it would take long: it is only resized
        ("/upscale --method resize", (48, 32), False),
        ("/mirror", (48, 32), False),
    ],
)
async def test_ones_own_picture_comes_back_behind_a_spoiler_where_nothing_checks_it(unchecked, caption, size, is_demo):
    app, ann, group = unchecked, unchecked.state.person("Ann"), unchecked.state.group()
    chat = app.state.private(ann)
    app.application.usecases.models.add_model(replace(MODELS[0], demo=is_demo))
    await choose(app, group, policy="allow")
    app.state.send_photo(group, ann, picture(3, *size), caption=caption)
    made = await app.finished_picture(group)
    app.state.send_message(group, ann, f"/show {(await job_of(app, made)).id[:8]}")
    again = await app.finished_picture(group, 2)
    app.state.send_message(chat, ann, f"/show {(await job_of(app, made)).id[:8]}")
    elsewhere = await app.message_with(chat, "can't be shown here")

    assert [one["has_media_spoiler"] for one in (made, again)] == [True, True]
    assert "not checked" in text_of(made)
    assert "photo" not in elsewhere


async def test_what_a_real_model_draws_is_refused_where_nothing_checks_it(unchecked):
    ann = unchecked.state.person("Ann")
    chat = unchecked.state.private(ann)
    unchecked.application.usecases.models.add_model(MODELS[0])
    unchecked.state.send_photo(chat, ann, FOX, caption="/imagine a fox --strength 1")

    assert "ask an admin" in text_of(await unchecked.message_with(chat, "isn't installed"))


async def test_a_resized_picture_is_judged_and_remains_its_authors(app, group, ann, bob):
    await choose(app, group, policy="block")
    app.state.send_photo(group, ann, picture(3, 48, 32), caption="/upscale nudes --method resize")
    refused = await app.message_with(group, "can't work with this picture")
    app.state.send_photo(group, ann, picture(3, 48, 32), caption="/upscale a fox --method resize")
    larger = await app.finished_picture(group, 2)
    told = await app.callback_answer(app.state.press(larger, app.state.button(larger, "vary"), bob))
    app.state.send_message(group, bob, "/upscale --method resize", reply_to=larger)

    assert "photo" not in refused
    assert "other people's pictures" in told["text"]
    assert await app.message_with(group, "other people's pictures", 3)


async def test_a_picture_for_adults_does_not_follow_its_person_into_a_private_chat(app, group, ann):
    alone = app.state.private(ann)
    await choose(app, group, policy="allow")
    await choose(app, alone, policy="allow")
    app.state.rights[group["id"]] = {"can_send_photos": False}
    app.state.send_message(group, ann, "/imagine a slow nude statue --steps 10")
    placeholder = await app.bot_message(alone)
    await app.until(lambda: app.pool.imagined)
    app.pool.go_on.set()
    await app.until(lambda: has_button(app.state.bot_messages(alone)[0], "reroll"))
    harmless = await app.imagine_and_wait(alone, ann, "a statue")

    assert "photo" not in app.state.bot_messages(alone)[0]
    assert not any("photo" in one for one in app.state.history[alone["id"], placeholder["message_id"]])
    assert "photo" in harmless


async def test_an_original_is_not_sent_where_its_picture_may_no_longer_be_shown(app, chat, ann):
    await choose(app, chat, policy="allow")
    made = await app.imagine_and_wait(chat, ann, "a nude statue")
    await choose(app, chat, policy="block")
    told = await app.callback_answer(app.state.press(made, app.state.button(made, "original"), ann))

    assert "can't be shown here" in told["text"]
    assert len(app.state.bot_messages(chat)) == 1


# ---------------------------------------------------------------- whose picture it is


async def test_somebody_elses_photo_may_be_asked_about_and_not_edited(app, group, ann, bob):
    photo = app.state.send_photo(group, bob, FOX)
    app.state.send_message(group, ann, "/imagine as a painting", reply_to=photo)
    await app.message_with(group, "other people's pictures")
    app.state.send_message(group, ann, "/caption", reply_to=photo)
    await app.message_with(group, "It is a picture", 2)
    app.state.send_message(group, bob, "/imagine as a painting", reply_to=photo)

    assert await app.finished_picture(group, 3)


async def test_a_group_may_let_everybody_edit_everything(app, group, ann, bob):
    await choose(app, group, edit_others=True)
    photo = app.state.send_photo(group, bob, FOX)
    app.state.send_message(group, ann, "/imagine as a painting", reply_to=photo)

    assert await app.finished_picture(group)


async def test_a_forwarded_photo_is_its_first_authors(app, chat, ann, bob):
    def forwarded(**origin):
        date = {"date": 1_700_000_000}
        return app.state.send_photo(chat, ann, FOX, "/imagine as a painting", forward_origin={**origin, **date})

    forwarded(type="user", sender_user=bob)
    await app.message_with(chat, "other people's pictures")
    forwarded(type="hidden_user", sender_user_name="Somebody")
    await app.message_with(chat, "other people's pictures", 2)
    forwarded(type="user", sender_user=ann)

    assert await app.finished_picture(chat, 3)


async def test_what_began_with_ones_photo_is_not_remade_by_others(app, group, ann, bob):
    app.state.send_photo(group, ann, FOX, "/imagine as a painting")
    made = await app.finished_picture(group)

    refused = await app.callback_answer(app.state.press(made, app.state.button(made, "reroll"), bob))
    app.state.press(made, app.state.button(made, "vary"), bob)  # of what the bot made of it
    varied = await app.finished_picture(group, 2)

    assert "other people's pictures" in refused["text"]
    assert has_button(varied, "original")
