"""An update that cannot be read is dropped alone, or read in part; nothing else is lost by it."""

import json
from typing import Any

import pytest

from adapters.telegram.message_parsing import readable_update

in_app = pytest.mark.asyncio(loop_scope="module")
UNREADABLE: tuple[Any, ...] = (
    None,
    7,
    "text",
    [],
    {},
    {"update_id": "7"},
    {"message": {"text": "/imagine"}},
    {"update_id": -1},
)


@in_app
async def test_what_has_no_number_is_dropped_and_the_rest_of_the_batch_is_handled(app, chat, ann, monkeypatch):
    ask = app.server.methods.getUpdates

    async def mixed(params, files):
        return [*UNREADABLE, *found, *UNREADABLE] if (found := await ask(params, files)) else found

    monkeypatch.setattr(app.server.methods, "getUpdates", mixed)
    app.state.send_message(chat, ann, "/imagine a fox")
    await app.finished_picture(chat)

    await app.until(lambda: not app.state.updates)


@in_app
async def test_an_answer_that_is_no_list_of_updates_is_asked_for_again(app, chat, ann, monkeypatch):
    answers = [{}, "updates", [7], [{"update_id": "x"}]]
    ask = app.server.methods.getUpdates

    async def odd(params, files):
        return answers.pop() if answers else await ask(params, files)

    monkeypatch.setattr(app.server.methods, "getUpdates", odd)
    app.state.send_message(chat, ann, "/imagine a fox")
    await app.finished_picture(chat)

    await app.until(lambda: not answers)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reply_to_message", {"from": 1}),
        ("reply_to_message", "text"),
        ("new_field", {"text": {}}),
        ("game", {"title": 7}),
        ("link_preview_options", {"type": []}),
        ("forward_origin", 7),
    ],
)
def test_a_field_that_cannot_be_read_does_not_lose_a_command(field, value):
    person = {"id": 7, "is_bot": False, "first_name": "Ann"}
    message = {"message_id": 5, "date": 1, "chat": {"id": 7, "type": "private"}, "from": person, "text": "/imagine x"}

    read = readable_update({"update_id": 1, "message": {**message, field: value}})

    assert read is not None
    assert read["message"].items() >= message.items()


@pytest.mark.parametrize("name", ["chat", "from", "text", "date", "message_id"])
@pytest.mark.parametrize("wrong", [None, 7.5, [7], 2**70])
def test_an_update_without_what_is_needed_is_dropped(name, wrong):
    message = {"message_id": 5, "date": 1, "chat": {"id": 7, "type": "private"}, "from": {"id": 7}, "text": "/x"}

    assert readable_update({"update_id": 1, "message": {**message, name: wrong}}) is None


@pytest.mark.parametrize("chat", [{}, {"chat": {}}, {"chat": {"type": "private"}}, {"chat": {"id": "7"}}])
def test_an_update_that_names_no_chat_is_dropped(chat):
    message = {"message_id": 5, "date": 1, "from": {"id": 7}, "text": "/imagine x", **chat}
    member = {"from": {"id": 7}, "new_chat_member": {"status": "kicked"}, **chat}

    assert readable_update({"update_id": 1, "message": message}) is None
    assert readable_update({"update_id": 1, "my_chat_member": member}) is None
    assert readable_update({"update_id": 1, "my_chat_member": chat}) is None


@in_app
async def test_an_update_that_cannot_be_stored_is_dropped_alone(app, chat, ann, monkeypatch):
    save_event = type(app.storage.inbox).save_event

    async def picky(self, platform, key, event):
        if "cursed" in json.dumps(event):
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
        return await save_event(self, platform, key, event)

    monkeypatch.setattr(type(app.storage.inbox), "save_event", picky)
    app.state.send_message(chat, ann, "/imagine a cursed fox")
    app.state.send_message(chat, ann, "/imagine an owl")

    await app.finished_picture(chat)

    assert len(app.state.bot_messages(chat)) == 1


def test_a_press_is_read_without_what_cannot_be_read_of_its_message():
    person = {"id": 7, "is_bot": False, "first_name": "Ann"}
    message = {"message_id": 5, "date": 1, "chat": {"id": 7, "type": "private"}, "photo": [], "game": {"title": 7}}
    press = {"id": "q", "from": person, "chat_instance": "1", "data": "v1:cancel:x", "message": message}

    read = readable_update({"update_id": 1, "callback_query": press})

    assert read is not None
    assert read["callback_query"]["data"] == "v1:cancel:x"
    assert "game" not in read["callback_query"]["message"]
