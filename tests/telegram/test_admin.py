"""`/admin` on Telegram: who may, and what it does."""

import pytest

from tests.model_manager_fixture import FOX, FakeHub
from tests.telegram.easel_fixture import built, words_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_admins_list_models_and_choose_a_policy_and_others_do_not(tmp_path, server):
    ann, bob = server.world.person("Ann"), server.world.person("Bob")
    chat, bobs = server.world.private(ann), server.world.private(bob)
    async with built(tmp_path, server) as town:
        await town.open(admins=(str(bob["id"]),))
        server.world.say(chat, ann, "/admin models")
        refused = await town.text(chat, "Only")
        server.world.say(bobs, bob, "/admin")
        listed = await town.text(bobs, "To choose from")
        server.world.say(bobs, bob, "/admin policy spoiler --edit-others yes")
        chosen = await town.text(bobs, "behind a click", 2)
        server.world.say(bobs, bob, "/admin models use nothing")
        unknown = await town.text(bobs, "no model", 3)
        server.world.say(bobs, bob, "/admin polcy")
        wrong = await town.text(bobs, "Did you mean policy", 4)
        server.world.say(bobs, bob, "/admin release")
        released = await town.text(bobs, "unloaded", 5)
        rules = await town.house.usecases.moderation.describe("telegram", str(bobs["id"]))

    assert "paint" not in words_of(refused)
    assert "paint" in words_of(listed)
    assert "may be edited" in words_of(chosen)
    assert (rules.policy.value, rules.edit_others) == ("spoiler", True)
    assert "nothing" in words_of(unknown)
    assert "Choose one of" in words_of(wrong)
    assert "paint" in words_of(released)


async def test_a_model_is_fetched_from_a_chat_and_those_who_wait_hear_how_far_it_is(tmp_path, server):
    bob, hub = server.world.person("Bob"), FakeHub()
    chat = server.world.private(bob)
    async with built(tmp_path, server) as town:
        town.house.usecases.models.offer(FOX)
        town.house.usecases.choosing.downloads = hub
        await town.open(admins=(str(bob["id"]),))
        server.world.say(chat, bob, "/admin models use fox")
        terms = await town.text(chat, "Licence: fox-1.0")
        hub.go_on.clear()
        server.world.say(chat, bob, "/admin models use fox --accept")
        await town.text(chat, "is being fetched", 2)
        server.world.say(chat, bob, "/imagine a knight --model fox")
        waiting = words_of(await town.text(chat, "Downloading Fox XL, 40 %", 3))
        hub.go_on.set()
        await town.picture(chat, 3)

    assert "--accept" in words_of(terms)
    assert "You are 1st." in waiting
