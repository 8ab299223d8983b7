"""What a Telegram server knows: people, chats, messages, files, updates that wait. And what people do there."""

import asyncio
import hashlib
import io
import itertools
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

BOT = {"id": 123456789, "is_bot": True, "first_name": "Easel", "username": "EaselTestBot"}
Message = dict[str, Any]


class TelegramServerState:
    def __init__(self) -> None:
        self.token = f"{BOT['id']}:AA{secrets.token_urlsafe(24)}"
        self.bot = {
            **BOT,
            "can_join_groups": True,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
        }
        self.chats: dict[int, dict[str, Any]] = {}
        self.messages: dict[tuple[int, int], Message] = {}
        self.history: dict[tuple[int, int], list[Message]] = {}
        self.files: dict[str, bytes] = {}
        self.updates: list[dict[str, Any]] = []
        self.queries: dict[str, dict[str, Any] | None] = {}
        self.blocked: set[int] = set()
        self.rights: dict[int, dict[str, bool]] = {}
        self.arrived = asyncio.Event()
        self._update_ids = itertools.count(700_000_001)
        self._ids = itertools.count(1)
        self._message_ids: dict[int, itertools.count[int]] = {}

    # ------------------------------------------------------------ who and where

    def person(self, name: str = "Ann", language: str = "en", **more: Any) -> dict[str, Any]:
        return {"id": 5000 + next(self._ids), "is_bot": False, "first_name": name, "language_code": language, **more}

    def private(self, person: Mapping[str, Any]) -> dict[str, Any]:
        return self._chat({"id": person["id"], "type": "private", "first_name": person["first_name"]})

    def group(self, title: str = "Friends", **more: Any) -> dict[str, Any]:
        return self._chat({"id": -1_000_000_000_000 - next(self._ids), "type": "supergroup", "title": title, **more})

    def _chat(self, chat: dict[str, Any]) -> dict[str, Any]:
        return self.chats.setdefault(chat["id"], chat)

    # ------------------------------------------------------------ messages

    def new_message(self, chat: Mapping[str, Any], sender: Mapping[str, Any], **content: Any) -> Message:
        number = next(self._message_ids.setdefault(chat["id"], itertools.count(10)))
        message = {"message_id": number, "date": int(time.time()), "chat": dict(chat), "from": dict(sender), **content}
        self.messages[chat["id"], number] = message
        self.history[chat["id"], number] = [message]
        return message

    def change(self, message: Message, **content: Any) -> Message:
        """Another version of a message; None takes a part away."""
        key = message["chat"]["id"], message["message_id"]
        changed = {name: value for name, value in {**self.messages[key], **content}.items() if value is not None}
        changed["edit_date"] = int(time.time())
        self.messages[key] = changed
        self.history[key].append(changed)
        return changed

    def remove(self, message: Message) -> None:
        """As when somebody deletes it: no update is sent."""
        self.messages.pop((message["chat"]["id"], message["message_id"]), None)

    def bot_messages(self, chat: Mapping[str, Any]) -> list[Message]:
        """The bot's messages that stand in a chat, oldest first."""
        mine = [one for (where, _), one in self.messages.items() if where == chat["id"]]
        return [one for one in mine if one["from"]["id"] == self.bot["id"]]

    def current(self, message: Message) -> Message:
        return self.messages[message["chat"]["id"], message["message_id"]]

    def keep_file(self, data: bytes) -> dict[str, Any]:
        """A file's ids: another for each sending, and one that is the same for the same bytes."""
        file_id = f"file{next(self._ids)}"
        self.files[file_id] = data
        return {"file_id": file_id, "file_unique_id": hashlib.sha256(data).hexdigest()[:16], "file_size": len(data)}

    def photo_sizes(self, data: bytes) -> list[dict[str, Any]]:
        """A thumbnail and the photo itself, which Telegram has turned into a JPEG."""
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            made = io.BytesIO()
            image.convert("RGB").save(made, "JPEG")
            small = io.BytesIO()
            image.convert("RGB").resize((16, 16)).save(small, "JPEG")
        return [
            {**self.keep_file(small.getvalue()), "width": 16, "height": 16},
            {**self.keep_file(made.getvalue()), "width": width, "height": height},
        ]

    def document(self, data: bytes, name: str, mime: str) -> dict[str, Any]:
        return {**self.keep_file(data), "file_name": name, "mime_type": mime}

    # ------------------------------------------------------------ what people do

    def send_message(self, chat: Mapping[str, Any], person: Mapping[str, Any], text: str = "", **more: Any) -> Message:
        """A message of a person's; its update waits for the bot. `reply_to` is a message; `age_s` makes it old."""
        content = {"text": text, **more} if text else dict(more)
        reply_to, age_s = content.pop("reply_to", None), content.pop("age_s", 0)
        if reply_to is not None:
            content["reply_to_message"] = _one_level(reply_to)
        for field, entities in (("text", "entities"), ("caption", "caption_entities")):
            if str(content.get(field, "")).startswith("/"):
                length = len(content[field].split()[0].encode("utf-16-le")) // 2
                content.setdefault(entities, []).append({"type": "bot_command", "offset": 0, "length": length})
        message = self.new_message(chat, person, **content)
        message["date"] -= int(age_s)
        self.add_update(message=message)
        return message

    def send_photo(
        self, chat: Mapping[str, Any], person: Mapping[str, Any], data: bytes, caption: str = "", **more: Any
    ) -> Message:
        content = {"photo": self.photo_sizes(data), **more}
        return self.send_message(chat, person, **(content | {"caption": caption} if caption else content))

    def album(
        self, chat: Mapping[str, Any], person: Mapping[str, Any], pictures: Sequence[bytes], caption: str = ""
    ) -> list[Message]:
        group = f"group{next(self._ids)}"
        captions = [caption, *[""] * (len(pictures) - 1)]
        return [
            self.send_photo(chat, person, data, words, media_group_id=group)
            for data, words in zip(pictures, captions, strict=True)
        ]

    def press(self, message: Message, data: str, person: Mapping[str, Any], **more: Any) -> str:
        """Press a button (or forge a press); returns the query's id."""
        query = f"query{next(self._ids)}"
        self.queries[query] = None
        standing = self.messages.get((message["chat"]["id"], message["message_id"]))
        shown = _one_level(standing, keep_reply=True) if standing else {**message, "date": 0}
        self.add_update(
            callback_query={
                "id": query,
                "from": dict(person),
                "chat_instance": "1",
                "message": shown,
                "data": data,
                **more,
            }
        )
        return query

    def button(self, message: Message, action: str) -> str:
        """The data of the first button with this action on the current message."""
        rows = self.current(message).get("reply_markup", {}).get("inline_keyboard", [])
        datas = [button.get("callback_data", "") for row in rows for button in row]
        found = next((data for data in datas if data.split(":")[1:2] == [action]), None)
        assert found is not None, f"no button {action} among {datas}"
        return found

    def add_update(self, **update: Any) -> None:
        self.updates.append({"update_id": next(self._update_ids), **update})
        self.arrived.set()


def _one_level(message: Message, *, keep_reply: bool = False) -> Message:
    """A nested message, without the message that it replies to."""
    kept = {name: value for name, value in message.items() if name != "reply_to_message"}
    if keep_reply and "reply_to_message" in message:
        kept["reply_to_message"] = _one_level(message["reply_to_message"])
    return kept
