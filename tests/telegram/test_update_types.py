"""Updates whose fields have other types than Telegram's: refused before anything reads them."""

import copy
from typing import Any

import pytest

from adapters.telegram.update_types import is_update

ANN = {"id": 7, "is_bot": False, "first_name": "Ann", "language_code": "en"}
MESSAGE = {
    "message_id": 5, "date": 1_700_000_000, "chat": {"id": 7, "type": "private"}, "from": ANN, "text": "/caption",
    "entities": [{"type": "bot_command", "offset": 0, "length": 8}],
}  # fmt: skip
PHOTO = {"photo": [{"file_id": "x", "file_unique_id": "x", "width": 9, "height": 9}], "caption": "/ask what?"}
UPDATES: tuple[dict[str, Any], ...] = (
    {"update_id": 1, "message": {**MESSAGE, "reply_to_message": {**MESSAGE, **PHOTO}}},
    {
        "update_id": 2,
        "callback_query": {"id": "q", "from": ANN, "chat_instance": "1", "message": MESSAGE, "data": "v1"},
    },
)


def paths(node, path=()):
    """The path of every value."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in children:
        yield (*path, key)
        yield from paths(value, (*path, key))


@pytest.mark.parametrize("update", UPDATES)
def test_telegrams_own_updates_are_read(update):
    assert is_update(update)


def is_taken_with(update, path, wrong):
    """True when `wrong` at `path` is of another type than the field, and yet the update is read."""
    node: Any
    forged = node = copy.deepcopy(update)
    for key in path[:-1]:
        node = node[key]
    is_same_kind = type(node[path[-1]]) is type(wrong) or isinstance(path[-1], int)
    node[path[-1]] = wrong
    return is_update(forged) and not is_same_kind


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("wrong", [None, {"a": 1}, [1], 1.5, 2**64], ids=str)
def test_a_field_of_another_type_makes_it_no_update(update, wrong):
    fields = list(paths(update))

    assert len(fields) > 15
    assert [path for path in fields if is_taken_with(update, path, wrong)] == []


@pytest.mark.parametrize("path", [("message", "chat", "id"), ("message", "from", "id")])
def test_the_id_of_a_chat_or_person_is_a_number(path):
    forged = copy.deepcopy(UPDATES[0])
    forged[path[0]][path[1]][path[2]] = "7"

    assert not is_update(forged)
