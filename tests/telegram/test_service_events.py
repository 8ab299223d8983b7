"""Events of a chat itself: another id, the bot's own place and rights, topics, anonymous admins."""

import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from telegram import ChatPermissions

from adapters.telegram import permissions
from adapters.telegram.polling import is_for_bot
from adapters.telegram.update_types import is_update
from bot.ports import SpacePolicy
from tests.telegram.server import Fault

pytestmark = pytest.mark.asyncio(loop_scope="module")
GONE = "Forbidden: the group chat was deleted"
ANONYMOUS = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}


def membership(app: Any, chat: Any, before: str, after: str, **rights: bool) -> None:
    """The bot's own place in a chat changes."""
    bot = {name: app.state.bot[name] for name in ("id", "is_bot", "first_name", "username")}
    by = app.state.person("Admin")
    places = [
        {"status": status, "user": bot} | ({"until_date": 0} if status == "kicked" else {})
        for status in (before, after)
    ]
    app.state.add_update(
        my_chat_member={
            "chat": dict(chat), "from": by, "date": int(time.time()),
            "old_chat_member": places[0], "new_chat_member": places[1],
        }
    )  # fmt: skip


def calls(app: Any, method: str) -> int:
    return sum(call.method == method for call in app.server.calls)


async def finish_picture(app: Any, chat: Any, sender: Any, **more: Any) -> Any:
    app.state.send_message(chat, sender, "/imagine a fox", **more)
    app.pool.go_on.set()
    return await app.finished_picture(chat)


# ---------------------------------------------------------------- another id


@pytest.mark.parametrize("told_by", ["migrate_to_chat_id", "a refused message"])
async def test_a_group_with_another_id_keeps_its_policy_and_its_jobs(app, ann, told_by):
    group, new = app.state.group(), app.state.group()
    await app.storage.spaces.set_policy("telegram", str(group["id"]), SpacePolicy(policy="block"))
    app.state.send_message(group, ann, "/imagine a slow fox")
    placeholder = await app.bot_message(group)
    job_id = app.state.button(placeholder, "cancel").split(":")[2]
    group["moved_to"] = new["id"]
    if told_by == "migrate_to_chat_id":
        app.state.send_message(group, ANONYMOUS, migrate_to_chat_id=new["id"])
    await app.wait_until_idle(0)
    app.pool.go_on.set()
    await app.finished_picture(new)
    await app.wait_until_idle(0)

    origin = (await app.storage.jobs.get_job(job_id, None)).origin
    assert (origin.space_id, origin.chat_id) == (str(new["id"]), str(new["id"]))
    assert (await app.storage.spaces.get_policy("telegram", str(new["id"]))).policy == "block"
    assert await app.storage.maintenance.check() == []


async def test_a_button_of_before_the_move_works_under_the_rules_of_the_group(app, ann):
    group, new = app.state.group(), app.state.group()
    made = await finish_picture(app, group, ann)
    group["moved_to"] = new["id"]
    app.state.send_message(new, ANONYMOUS, migrate_from_chat_id=group["id"])
    await app.wait_until_idle(0)
    app.state.press(made, app.state.button(made, "reroll"), ann)

    await app.finished_picture(new)


# ---------------------------------------------------------------- the bot's own place


async def test_rights_that_changed_are_known_with_the_next_request(app, ann):
    group, alone = app.state.group(), app.state.private(ann)
    await finish_picture(app, group, ann)
    app.state.rights[group["id"]] = {"can_send_photos": False}
    membership(app, group, "member", "restricted")
    await app.wait_until_idle(0)
    app.state.send_message(group, ann, "/imagine a fox")

    await app.finished_picture(alone)


@pytest.mark.parametrize(("later_s", "asked", "can_answer"), [(599, 1, True), (601, 2, False)])
async def test_rights_of_all_members_are_asked_for_every_ten_minutes(later_s, asked, can_answer):
    """Telegram sends no event about them."""
    now, bot = [0.0], AsyncMock(id=7)
    bot.get_chat.return_value = SimpleNamespace(permissions=ChatPermissions.all_permissions())
    known = permissions.ChatPermissions(SimpleNamespace(bot=bot), clock=lambda: now[0])  # type: ignore[arg-type]
    await known.can_answer(-5, "imagine")
    bot.get_chat.return_value = SimpleNamespace(permissions=ChatPermissions(can_send_photos=False))
    now[0] = later_s

    assert await known.can_answer(-5, "imagine") is can_answer
    assert bot.get_chat.await_count == asked


@pytest.mark.parametrize("after", ["left", "kicked"])
async def test_a_removed_bot_that_is_added_again_posts_what_waited(app, ann, after):
    group = app.state.group() if after == "left" else app.state.private(ann)  # a person blocks it
    app.state.send_message(group, ann, "/imagine a slow fox")
    job_id = app.state.button(await app.bot_message(group), "cancel").split(":")[2]
    app.state.blocked.add(group["id"])
    membership(app, group, "member", after)
    app.pool.go_on.set()
    refused = lambda: [one for one in app.server.calls if one.status == 403 and one.chat == group["id"]]  # noqa: E731
    await app.until(lambda: len(refused()) > 1)
    await app.wait_until_idle(0.1)
    app.state.blocked.discard(group["id"])
    membership(app, group, after, "member")

    await app.until(lambda: any(job_id in str(one) and "photo" in one for one in app.state.bot_messages(group)))


@pytest.mark.parametrize("status", ["administrator", "kicked"])
async def test_no_change_of_the_bots_place_is_answered(app, status):
    group, before = app.state.group(), len(app.server.calls)
    membership(app, group, "left", status)
    await app.wait_until_idle(0)

    assert not [call for call in app.server.calls[before:] if call.chat == group["id"] and "send" in call.method]


async def test_other_service_messages_are_not_answered(app, ann):
    group = app.state.group()
    for name in ("forum_topic_closed", "forum_topic_reopened", "general_forum_topic_hidden"):
        app.state.send_message(group, ann, **{name: {}})
    app.state.send_message(group, ann, new_chat_members=[{"id": 1, "is_bot": False, "first_name": "Cy"}])
    app.state.send_message(group, ann, message_auto_delete_timer_changed={"message_auto_delete_time": 86400})
    app.state.send_message(group, ann, boost_added={"boost_count": 1})
    await app.wait_until_idle(0)

    assert app.state.bot_messages(group) == []


def raw(**message: Any) -> dict[str, Any]:
    return {"update_id": 1, "message": {"message_id": 1, "date": 1, "chat": {"id": -5, "type": "group"}, **message}}


@pytest.mark.parametrize(
    ("update", "is_stored"),
    [
        (raw(migrate_to_chat_id=-100), True),
        (raw(migrate_from_chat_id=-5), True),
        (raw(forum_topic_reopened={}), True),
        ({"update_id": 1, "my_chat_member": {"chat": {"id": -5}}}, True),
        (raw(new_chat_title="Foxes"), False),
        (raw(text="a private word"), False),
    ],
)
async def test_of_service_events_only_those_are_stored_that_change_something(update, is_stored):
    assert is_update(update)
    assert is_for_bot(update, 7, "EaselTestBot") is is_stored


@pytest.mark.parametrize("wrong", ["-100", 1.5, [1], {}])
async def test_an_id_of_another_type_moves_no_group(wrong):
    assert not is_update(raw(migrate_to_chat_id=wrong))


# ---------------------------------------------------------------- anonymous admins


async def test_an_admin_may_delete_what_an_anonymous_admin_asked_for(app, ann, bob):
    group = app.state.group()
    group["admins"] = [ann["id"]]
    made = await finish_picture(app, group, ANONYMOUS, sender_chat=dict(group))
    refused = app.state.press(made, app.state.button(made, "delete"), bob)
    answer = await app.callback_answer(refused)
    starred = app.state.press(made, app.state.button(made, "favourite"), ann)
    star = await app.callback_answer(starred)
    query = app.state.press(made, app.state.button(made, "delete"), ann)
    await app.callback_answer(query)
    await app.until(lambda: app.state.bot_messages(group) == [])

    assert answer["show_alert"]
    assert star["text"] == "Added to your favourites."


async def test_an_admin_of_another_group_may_not(app, ann):
    group, other = app.state.group(), app.state.group()
    other["admins"] = [ann["id"]]
    made = await finish_picture(app, group, ANONYMOUS, sender_chat=dict(group))
    query = app.state.press(made, app.state.button(made, "delete"), ann)

    assert (await app.callback_answer(query))["show_alert"]
    assert app.state.bot_messages(group) != []


# ---------------------------------------------------------------- places that are gone


async def test_where_the_group_is_gone_the_person_gets_the_result_in_private(app, ann):
    group, alone = app.state.group(), app.state.private(ann)
    app.state.send_message(group, ann, "/imagine a slow fox")
    await app.bot_message(group)
    app.server.faults.append(Fault(method="(send|edit).*", chat=group["id"], times=99, status=403, description=GONE))
    app.pool.go_on.set()

    await app.finished_picture(alone)
