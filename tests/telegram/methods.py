"""The methods of the Bot API on the server's state, with the refusals of a real server."""

import asyncio
import io
import json
import warnings
from collections.abc import Mapping
from typing import Any

from PIL import Image

from tests.telegram.rules import MAX_CALLBACK_DATA, MAX_CAPTION, MAX_TEXT, units
from tests.telegram.telegram_server_state import Message, TelegramServerState

MAX_PHOTO = 10 * 2**20
MAX_FETCH = 20 * 2**20
MAX_FILE = 50 * 2**20
NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a current "
    "content and reply markup of the message"
)
Params = Mapping[str, Any]
Files = Mapping[str, bytes]


class Refused(Exception):
    """An answer that is not ok."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters


def bad(why: str) -> Refused:
    return Refused(400, f"Bad Request: {why}")


class Methods:
    """One method for each of the Bot API, by its name. Parameters arrive unpacked."""

    def __init__(self, state: TelegramServerState) -> None:
        self.state = state
        self.webhook: dict[str, Any] = {}
        self.commands: dict[str, list[dict[str, str]]] = {}
        self.answers: list[dict[str, Any]] = []
        self.actions: list[tuple[int, str]] = []
        self.acknowledged = 0
        self.names: dict[str, str] = {}
        self._poll: asyncio.Future[Any] | None = None

    # ------------------------------------------------------------ about the bot

    async def getMe(self, _params: Params, _files: Files) -> Any:
        return self.state.bot

    async def setMyCommands(self, params: Params, _files: Files) -> Any:
        scope = params.get("scope", {"type": "default"})["type"]
        self.commands[f"{scope}:{params.get('language_code', '')}"] = params["commands"]
        return True

    async def setWebhook(self, params: Params, _files: Files) -> Any:
        self.webhook = {"url": params["url"], "secret": params.get("secret_token", ""), **params}
        return True

    async def deleteWebhook(self, _params: Params, _files: Files) -> Any:
        self.webhook = {}
        return True

    async def getUpdates(self, params: Params, _files: Files) -> Any:
        if self.webhook:
            raise Refused(
                409,
                "Conflict: can't use getUpdates method while webhook is active",
            )
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)
        mine = self._poll = asyncio.get_running_loop().create_future()
        state = self.state
        self.acknowledged = max(self.acknowledged, params.get("offset", 0) - 1)
        state.updates = [one for one in state.updates if one["update_id"] > self.acknowledged]
        if not state.updates and params.get("timeout"):
            await self._wait(mine, params["timeout"])
        if mine.done():
            raise Refused(
                409, "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
            )
        mine.set_result(None)
        return state.updates[: params.get("limit", 100)]

    async def _wait(self, until: asyncio.Future[Any], timeout_s: float) -> None:
        self.state.arrived.clear()
        arrival: asyncio.Future[Any] = asyncio.ensure_future(self.state.arrived.wait())
        try:
            await asyncio.wait({arrival, until}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrival.cancel()

    # ------------------------------------------------------------ new messages

    async def sendMessage(self, params: Params, _files: Files) -> Any:
        _check_text(params.get("text", ""), MAX_TEXT, "message")
        return self._new(params, text=params["text"])

    async def sendPhoto(self, params: Params, files: Files) -> Any:
        return self._new(params, **self._media("photo", params.get("photo", "attach://photo"), files))

    async def sendDocument(self, params: Params, files: Files) -> Any:
        source = params.get("document", "attach://document")
        return self._new(params, **self._media("document", source, files))

    async def sendMediaGroup(self, params: Params, files: Files) -> Any:
        if not 2 <= len(params["media"]) <= 10:
            raise bad("wrong number of items in the media group")
        group = f"album{len(self.state.messages)}"
        sent = []
        for one in params["media"]:
            content = self._media(one["type"], one["media"], files)
            _check_text(one.get("caption", " "), MAX_CAPTION, "message caption")
            caption = {"caption": one["caption"]} if "caption" in one else {}
            sent.append(self._new(params, **content, **caption, media_group_id=group))
        return sent

    def _new(self, params: Params, **content: Any) -> Message:
        chat = self._chat(params)
        if "caption" in params:
            _check_text(params["caption"], MAX_CAPTION, "message caption")
            content["caption"] = params["caption"]
        if thread := params.get("message_thread_id"):
            if not chat.get("is_forum"):
                raise bad("message thread not found")
            content |= {"message_thread_id": thread, "is_topic_message": True}
        if "reply_parameters" in params:
            content |= self._replied(chat["id"], params["reply_parameters"])
        if params.get("has_spoiler"):
            content["has_media_spoiler"] = True
        return self.state.new_message(chat, self.state.bot, **content, **_markup(params))

    def _replied(self, chat_id: int, reply: Mapping[str, Any]) -> dict[str, Any]:
        found = self.state.messages.get((chat_id, reply["message_id"]))
        if found is None and not reply.get("allow_sending_without_reply"):
            raise bad("message to be replied not found")
        return {"reply_to_message": {k: v for k, v in found.items() if k != "reply_to_message"}} if found else {}

    def _chat(self, params: Params) -> dict[str, Any]:
        chat = self.state.chats.get(int(params["chat_id"]))
        if chat is None:
            raise bad("chat not found")
        if "moved_to" in chat:
            raise Refused(
                400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=chat["moved_to"]
            )
        if chat["id"] in self.state.blocked:
            raise Refused(403, "Forbidden: bot was blocked by the user")
        return chat

    # ------------------------------------------------------------ edits

    def _standing(self, params: Params) -> Message:
        self._chat(params)
        found = self.state.messages.get((int(params["chat_id"]), params["message_id"]))
        if found is None:
            raise bad("message to edit not found")
        if found["from"]["id"] != self.state.bot["id"]:
            raise bad("message can't be edited")
        return found

    def _edit(self, message: Message, params: Params, **content: Any) -> Message:
        new = {**content, "reply_markup": None, **_markup(params)}
        same = all(message.get(name) == value for name, value in new.items())
        if same:
            raise bad(NOT_MODIFIED)
        return self.state.change(message, **new)

    async def editMessageText(self, params: Params, _files: Files) -> Any:
        message = self._standing(params)
        if "text" not in message:
            raise bad("there is no text in the message to edit")
        _check_text(params["text"], MAX_TEXT, "message")
        return self._edit(message, params, text=params["text"])

    async def editMessageCaption(self, params: Params, _files: Files) -> Any:
        message = self._standing(params)
        if "text" in message:
            raise bad("there is no caption in the message to edit")
        _check_text(params.get("caption", ""), MAX_CAPTION, "message caption")
        return self._edit(message, params, caption=params.get("caption"))

    async def editMessageMedia(self, params: Params, files: Files) -> Any:
        message, media = self._standing(params), params["media"]
        _check_text(media.get("caption", ""), MAX_CAPTION, "message caption")
        content = {"text": None, "photo": None, "document": None, "has_media_spoiler": media.get("has_spoiler") or None}
        content |= self._media(media["type"], media["media"], files)
        return self._edit(message, params, **content, caption=media.get("caption"))

    async def editMessageReplyMarkup(self, params: Params, _files: Files) -> Any:
        return self._edit(self._standing(params), params)

    async def deleteMessage(self, params: Params, _files: Files) -> Any:
        self._chat(params)
        key = int(params["chat_id"]), params["message_id"]
        found = self.state.messages.get(key)
        if found is None:
            raise bad("message to delete not found")
        if found.get("is_old"):
            raise bad("message can't be deleted for everyone")
        del self.state.messages[key]
        return True

    # ------------------------------------------------------------ the rest

    async def answerCallbackQuery(self, params: Params, _files: Files) -> Any:
        query = params["callback_query_id"]
        if self.state.queries.get(query, "") is not None:
            raise bad("query is too old and response timeout expired or query ID is invalid")
        self.state.queries[query] = dict(params)
        self.answers.append(dict(params))
        return True

    async def sendChatAction(self, params: Params, _files: Files) -> Any:
        self.actions.append((self._chat(params)["id"], params["action"]))
        return True

    async def getChat(self, params: Params, _files: Files) -> Any:
        full = {"accent_color_id": 0, "max_reaction_count": 11, "accepted_gift_types": _NO_GIFTS}
        return {**self._chat(params), **full}

    async def getChatMember(self, params: Params, _files: Files) -> Any:
        chat = self._chat(params)
        user = {**self.state.bot, "id": params["user_id"]}
        if user["id"] != self.state.bot["id"]:
            is_admin = user["id"] in chat.get("admins", ())
            return (
                {"status": "creator", "user": user, "is_anonymous": True}
                if is_admin
                else {"status": "left", "user": user}
            )
        rights = self.state.rights.get(chat["id"])
        if rights is None:
            return {"status": "member", "user": user}
        return {"status": "restricted", "user": user, "is_member": True, "until_date": 0, **_RIGHTS, **rights}

    async def getFile(self, params: Params, _files: Files) -> Any:
        data = self.state.files.get(params["file_id"])
        if data is None:
            raise bad("wrong file_id or the file is temporarily unavailable")
        if len(data) > MAX_FETCH:
            raise bad("file is too big")
        ids = {"file_id": params["file_id"], "file_unique_id": params["file_id"], "file_size": len(data)}
        return {**ids, "file_path": f"photos/{params['file_id']}"}

    def _media(self, kind: str, source: str, files: Files) -> dict[str, Any]:
        """The content of a message with this photo or document, which is a file's id or a part of the request."""
        name = source.removeprefix("attach://")
        data = files.get(name) if source.startswith("attach://") else self.state.files.get(source)
        if not data:
            raise bad("wrong file identifier/HTTP URL specified")
        if len(data) > (MAX_PHOTO if kind == "photo" else MAX_FILE):
            raise Refused(413, "Request Entity Too Large")
        if kind == "document":
            return {
                "document": self.state.document(data, self.names.get(name, name), "application/octet-stream"),
                "original": data,
            }
        _check_photo(data)
        return {"photo": self.state.photo_sizes(data), "original": data}


_NO_GIFTS = dict.fromkeys(
    ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels"), False
)
_RIGHTS = dict.fromkeys(
    (
        "can_send_messages", "can_send_audios", "can_send_documents", "can_send_photos", "can_send_videos",
        "can_send_video_notes", "can_send_voice_notes", "can_send_polls", "can_send_other_messages",
        "can_add_web_page_previews", "can_change_info", "can_invite_users", "can_pin_messages", "can_manage_topics",
        "can_edit_tag", "can_react_to_messages",
    ),
    True,
)  # fmt: skip


def _check_text(text: str, limit: int, what: str) -> None:
    if what == "message" and not text.strip():
        raise bad("message text is empty")
    if units(text) > limit:
        raise bad(f"{what} is too long")


def _check_photo(data: bytes) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            width, height = Image.open(io.BytesIO(data)).size
    except OSError as error:
        raise bad("IMAGE_PROCESS_FAILED") from error
    if width + height > 10_000 or max(width, height) > 20 * min(width, height):
        raise bad("PHOTO_INVALID_DIMENSIONS")


def _markup(params: Params) -> dict[str, Any]:
    markup = params.get("reply_markup")
    if not markup or not markup.get("inline_keyboard"):
        return {}
    for row in markup["inline_keyboard"]:
        for button in row:
            if not 1 <= len(button.get("callback_data", "url").encode()) <= MAX_CALLBACK_DATA:
                raise bad("BUTTON_DATA_INVALID")
    return {"reply_markup": markup}


def unpacked(params: Mapping[str, Any]) -> dict[str, Any]:
    """Texts of a form's fields that are JSON become what they say; texts that people read stay."""
    plain = {"text", "caption", "url", "secret_token", "callback_query_id", "file_id", "language_code", "action"}
    return {name: value if name in plain else _json(value) for name, value in params.items()}


def _json(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value
