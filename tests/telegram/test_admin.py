"""`/admin` on Telegram: who may, and what it does."""

import pytest

from tests.model_manager_fixture import FOX, FakeBuilds, FakeHub
from tests.telegram.easel_fixture import build_app, text_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_admins_list_models_and_choose_a_policy_and_others_do_not(tmp_path, server):
    ann, bob = server.state.person("Ann"), server.state.person("Bob")
    chat, bobs = server.state.private(ann), server.state.private(bob)
    async with build_app(tmp_path, server) as app:
        await app.open(admins=(str(bob["id"]),))
        server.state.send_message(chat, ann, "/admin models")
        refused = await app.message_with(chat, "Only")
        server.state.send_message(bobs, bob, "/admin")
        listed = await app.message_with(bobs, "Available to install")
        server.state.send_message(bobs, bob, "/admin policy spoiler --edit-others yes")
        chosen = await app.message_with(bobs, "behind a click", 2)
        server.state.send_message(bobs, bob, "/admin models use nothing")
        unknown = await app.message_with(bobs, "no model", 3)
        server.state.send_message(bobs, bob, "/admin polcy")
        wrong = await app.message_with(bobs, "Did you mean policy", 4)
        server.state.send_message(bobs, bob, "/admin unload")
        released = await app.message_with(bobs, "unloaded", 5)
        rules = await app.application.usecases.moderation.space_rules("telegram", str(bobs["id"]))

    assert "paint" not in text_of(refused)
    assert "paint" in text_of(listed)
    assert "may be edited" in text_of(chosen)
    assert (rules.policy.value, rules.edit_others) == ("spoiler", True)
    assert "nothing" in text_of(unknown)
    assert "Choose one of" in text_of(wrong)
    assert "paint" in text_of(released)


async def test_a_model_is_installed_from_a_chat_and_waiting_jobs_show_its_progress(tmp_path, server):
    bob, hub = server.state.person("Bob"), FakeHub()
    chat = server.state.private(bob)
    async with build_app(tmp_path, server) as app:
        app.application.usecases.models.add_preset(FOX)
        app.application.usecases.model_manager.downloads = hub
        await app.open(admins=(str(bob["id"]),))
        server.state.send_message(chat, bob, "/admin models use fox --weights FP8")
        terms = await app.message_with(chat, "Licence: fox-1.0")
        hub.go_on.clear()
        server.state.send_message(chat, bob, "/admin models use fox --weights fp8 --accept")
        await app.message_with(chat, "Downloading and testing", 2)
        server.state.send_message(chat, bob, "/imagine a knight --model fox")
        waiting = text_of(await app.message_with(chat, "Downloading Fox XL: 40 %", 3))
        hub.go_on.set()
        await app.finished_picture(chat, 3)

    assert "--weights fp8 --accept" in text_of(terms)
    assert "You are 1st in the queue." in waiting


async def test_a_model_is_compiled_from_a_chat_and_used_after_a_second_command(tmp_path, server):
    bob, builds = server.state.person("Bob"), FakeBuilds()
    chat = server.state.private(bob)
    async with build_app(tmp_path, server) as app:
        app.application.usecases.optimizer.builds = builds
        await app.open(admins=(str(bob["id"]),))
        server.state.send_message(chat, bob, "/admin models optimize paint")
        await app.message_with(chat, "paint is being compiled for openvino")
        server.state.send_message(chat, bob, "/admin models optimize paint --accept")
        await app.message_with(chat, "paint runs on openvino, 1.5 times as fast", 2)
        server.state.send_message(chat, bob, "/admin models torch paint")
        await app.message_with(chat, "paint runs on torch.", 3)

    assert len(builds.made) == 1
