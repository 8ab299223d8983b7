"""The types of an update's fields: python-telegram-bot reads an update without checking them."""

from typing import Any

FIELD_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(
        ("text", "caption", "data", "type", "title", "username", "first_name", "last_name", "language_code"), (str,)
    ),
    **dict.fromkeys(
        ("file_id", "file_unique_id", "mime_type", "file_name", "media_group_id", "chat_instance"),
        (str,),
    ),
    **dict.fromkeys(
        ("update_id", "message_id", "message_thread_id", "date", "offset", "length", "width", "height", "file_size"),
        (int,),
    ),
    **dict.fromkeys(
        ("is_bot", "is_forum", "is_topic_message", "has_media_spoiler", "is_animated", "is_video"), (bool,)
    ),
    **dict.fromkeys(("from", "chat", "message", "callback_query", "reply_to_message", "document", "sticker"), (dict,)),
    **dict.fromkeys(("my_chat_member", "new_chat_member", "old_chat_member"), (dict,)),
    **dict.fromkeys(("migrate_to_chat_id", "migrate_from_chat_id"), (int,)),
    **dict.fromkeys(("photo", "entities", "caption_entities"), (list,)),
    "status": (str,),
    "id": (int, str),
}
"""By name, wherever the field is. Fields that Easel does not read are not listed."""
MAX_INTEGER = 2**63


def update_id_of(raw: Any) -> int | None:
    """The update's number; None: it is no update."""
    number = raw.get("update_id") if isinstance(raw, dict) else None
    return number if type(number) is int and 0 <= number < MAX_INTEGER else None


def is_update(raw: Any) -> bool:
    """Whether it has a number, and every field that Easel reads, at any depth, has its type."""
    if update_id_of(raw) is None:
        return False
    return _has_known_types(raw) and _has_its_ids(raw)


def _has_known_types(update: dict[str, Any]) -> bool:
    waiting: list[Any] = [update]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if not all(_fits(value, FIELD_TYPES[name]) for name, value in node.items() if name in FIELD_TYPES):
                return False
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return True


def _fits(value: Any, types: tuple[type, ...]) -> bool:
    return type(value) in types and (type(value) is not int or abs(value) < MAX_INTEGER)


def _has_its_ids(update: dict[str, Any]) -> bool:
    """A press has a text as its id, chats and people have numbers; a message and a change of membership have a chat."""
    press = update.get("callback_query")
    message = update.get("message") or (press or {}).get("message") or {}
    numbers = [part.get("id", 0) for part in (message.get("from"), (press or {}).get("from")) if part]
    places = (message or None, update.get("my_chat_member"))
    numbers += [(place.get("chat") or {}).get("id") for place in places if place is not None]
    return all(type(number) is int for number in numbers) and (press is None or type(press.get("id")) is str)
