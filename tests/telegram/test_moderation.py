"""What is shown where on Telegram, whose pictures may be edited, and who is an admin."""

import pytest

from bot.safety import SafetySettings
from tests.telegram.easel_fixture import built, has_button, words_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOX = picture(3, 48, 32)


async def choose(town, chat, **chosen):
    space = {"platform": "telegram", "space_id": str(chat["id"])}
    await town.house.usecases.moderation.set_policy(is_admin=True, **space, **chosen)


async def job_of(town, message):
    return await town.house.usecases.chat.of_message("telegram", f"{message['chat']['id']}:{message['message_id']}")


async def test_a_sexual_picture_is_thrown_away_and_told_calmly(town, chat, ann):
    await choose(town, chat, policy="block")
    town.world.say(chat, ann, "/imagine a nude statue")

    message = await town.text(chat, "thrown away")

    assert "weren't charged" in words_of(message)
    assert "photo" not in message


@pytest.mark.parametrize(("policy", "hidden"), [("spoiler", True), ("allow", False)])
async def test_a_chat_shows_it_as_it_wants(town, chat, ann, policy, hidden):
    await choose(town, chat, policy=policy)

    shown = await town.imagined(chat, ann, "a nude statue")
    harmless = await town.imagined(chat, ann, "a statue")

    assert [bool(one.get("has_media_spoiler")) for one in (shown, harmless)] == [hidden, False]


async def test_a_picture_that_one_chat_allows_is_not_shown_in_one_that_does_not(town, chat, group, ann):
    await choose(town, chat, policy="block")
    made = await town.imagined(group, ann, "a nude statue")
    town.world.say(chat, ann, f"/show {(await job_of(town, made)).id[:8]}")

    message = await town.text(chat, "not shown here")

    assert "photo" not in message


async def test_a_failing_check_throws_the_picture_away(town, chat, ann):
    town.world.say(chat, ann, "/imagine nan")

    assert "photo" not in await town.text(chat, "could not be checked")


async def test_a_preview_of_what_fails_the_check_goes_with_it(town, chat, ann):
    town.world.say(chat, ann, "/imagine slow nan --steps 10")
    await town.until(lambda: any("photo" in one for one in town.world.shown(chat)))
    town.pool.go_on.set()
    await town.until(lambda: any("could not be checked" in words_of(one) for one in town.world.shown(chat)))
    await town.until(lambda: len(town.world.shown(chat)) == 1)

    assert "photo" not in town.world.shown(chat)[0]


async def test_blocked_words_and_a_missing_classifier(tmp_path, server):
    ann, bob = server.world.person("Ann"), server.world.person("Bob")
    chat, bobs = server.world.private(ann), server.world.private(bob)
    safety = SafetySettings(blocked_words=("broccoli",), classifier="models/none")
    async with built(tmp_path, server, safety=safety) as town:
        await town.open(admins=(str(bob["id"]),))
        server.world.say(chat, ann, "/imagine unseen")
        refused = await town.text(chat, "only admins")
        server.world.say(chat, ann, "/imagine br0cc0li")
        blocked = await town.text(chat, "other words", 2)
        server.world.say(bobs, bob, "/imagine unseen")
        served = await town.picture(bobs)

        assert (town.adapter.is_admin(str(bob["id"])), town.adapter.is_admin(str(ann["id"]))) == (True, False)

    assert "easel models use paint" in words_of(refused)
    assert "occoli" not in words_of(blocked)
    assert served["has_media_spoiler"] is True
    assert "Nobody checked" in words_of(served)


# ---------------------------------------------------------------- whose picture it is


async def test_somebody_elses_photo_may_be_asked_about_and_not_edited(town, group, ann, bob):
    photo = town.world.show(group, bob, FOX)
    town.world.say(group, ann, "/imagine as a painting", reply_to=photo)
    await town.text(group, "other people's pictures")
    town.world.say(group, ann, "/caption", reply_to=photo)
    await town.text(group, "It is a picture", 2)
    town.world.say(group, bob, "/imagine as a painting", reply_to=photo)

    assert await town.picture(group, 3)


async def test_a_group_may_let_everybody_edit_everything(town, group, ann, bob):
    await choose(town, group, edit_others=True)
    photo = town.world.show(group, bob, FOX)
    town.world.say(group, ann, "/imagine as a painting", reply_to=photo)

    assert await town.picture(group)


async def test_a_forwarded_photo_is_its_first_authors(town, chat, ann, bob):
    def forwarded(**origin):
        date = {"date": 1_700_000_000}
        return town.world.show(chat, ann, FOX, "/imagine as a painting", forward_origin={**origin, **date})

    forwarded(type="user", sender_user=bob)
    await town.text(chat, "other people's pictures")
    forwarded(type="hidden_user", sender_user_name="Somebody")
    await town.text(chat, "other people's pictures", 2)
    forwarded(type="user", sender_user=ann)

    assert await town.picture(chat, 3)


async def test_what_began_with_ones_photo_is_not_remade_by_others(town, group, ann, bob):
    town.world.show(group, ann, FOX, "/imagine as a painting")
    made = await town.picture(group)

    refused = await town.answered(town.world.press(made, town.world.button(made, "reroll"), bob))
    town.world.press(made, town.world.button(made, "vary"), bob)  # of what the bot made of it
    varied = await town.picture(group, 2)

    assert "other people's pictures" in refused["text"]
    assert has_button(varied, "original")
