"""An event in a form that survives a restart: everything needed to handle and to answer it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from bot.chat.file_types import may_be_picture
from bot.jobs import Origin

PLATFORM = "discord"
NOT_INSTALLED = "I am not a member here"
"""Stored in `missing` where the bot is not a member. Not a sentence for people."""
TOKEN_LIFETIME_S = 14 * 60
"""An interaction's token is valid for 15 minutes; nothing is started with it in the last one."""


@dataclass(frozen=True, kw_only=True)
class AttachedFile:
    """A file of a message, not yet downloaded: attached, a sticker, or the preview of a link.

    `author`: the account that posted it, and `role`: "mask", "control" or empty; see `ImageRef`.
    """

    url: str
    filename: str = ""
    size: int = 0
    content_type: str = ""
    spoiler: bool = False
    author: str = ""
    role: str = ""

    @property
    def may_be_image(self) -> bool:
        return may_be_picture(self.content_type, self.filename)


@dataclass(frozen=True, kw_only=True)
class DiscordEvent:
    """One interaction or message.

    Attributes:
        key: its key in the inbox.
        kind: "command", "menu", "button", "modal" or "message".
        name: the name of the command or menu, or the custom id of the button or modal.
        missing: the permissions that the bot lacks to post in the channel; empty: it may post.
        target: the message of the button or menu, or the one replied to: `"<channel>:<message>"`.
        text: the text of the modal, or of the message without its mention.
        at: Unix time in seconds.
    """

    key: str
    kind: str
    name: str = ""
    account_id: str = ""
    account_name: str = ""
    locale: str = "en"
    guild_id: str = ""
    channel_id: str = ""
    is_thread: bool = False
    nsfw: bool = False
    is_admin: bool = False
    missing: tuple[str, ...] = ()
    size_limit: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    pictures: tuple[AttachedFile, ...] = ()
    spoiler: bool = False
    target: str = ""
    text: str = ""
    message_id: str = ""
    application_id: str = ""
    token: str = field(default="", repr=False)
    response_id: str = ""
    at: float = 0.0

    @property
    def can_post(self) -> bool:
        return not self.missing

    @property
    def age_restricted(self) -> bool:
        """Only channels of servers that the bot is in: elsewhere it is not known."""
        return self.nsfw and bool(self.guild_id) and NOT_INSTALLED not in self.missing

    @property
    def job_key(self) -> str:
        """The idempotency key of the job that this event asks for."""
        return f"{PLATFORM}:{self.key}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def origin(self, *, spoiler: bool = False) -> Origin:
        extra = {
            "app": self.application_id,
            "token": self.token,
            "response": self.response_id,
            "at": self.at,
            "missing": list(self.missing),
            "limit": self.size_limit,
            "spoiler": spoiler or self.spoiler or any(one.spoiler for one in self.pictures),
            "named": self.kind != "message",
        }
        return Origin(
            platform=PLATFORM,
            space_id=self.guild_id or f"dm:{self.account_id}",
            account_id=self.account_id,
            chat_id=self.channel_id,
            thread_id=self.channel_id if self.is_thread else "",
            message_id=self.message_id,
            reply_to_id=self.target,
            locale=self.locale,
            age_restricted=self.age_restricted,
            is_admin=self.is_admin,
            extra=extra,
        )


def event_from_json(body: Mapping[str, Any]) -> DiscordEvent:
    """From the output of `to_json`, possibly of an older version."""
    known = {one.name for one in fields(DiscordEvent)}
    values = {name: value for name, value in body.items() if name in known}
    values["pictures"] = tuple(AttachedFile(**one) for one in values.get("pictures", ()))
    values["missing"] = tuple(values.get("missing", ()))
    return DiscordEvent(**values)
