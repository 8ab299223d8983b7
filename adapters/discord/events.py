"""What a person did, in a form that survives a restart: all that is needed to act upon it and to answer."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from adapters.discord import texts
from bot.jobs import Origin

PLATFORM = "discord"
TOKEN_LIFETIME_S = 14 * 60
"""An interaction's token lives 15 minutes; nothing is begun with it in the last one."""


@dataclass(frozen=True, kw_only=True)
class AttachedFile:
    """A file that hangs on a message, not yet fetched. `author`: the account that posted it; see `ImageRef`."""

    url: str
    filename: str = ""
    size: int = 0
    content_type: str = ""
    spoiler: bool = False
    author: str = ""

    @property
    def may_be_image(self) -> bool:
        return not self.content_type or self.content_type.startswith("image/")


@dataclass(frozen=True, kw_only=True)
class DiscordEvent:
    """One interaction or message.

    Attributes:
        key: its name in the inbox.
        kind: "command", "menu", "button", "modal" or "message".
        name: the command's or menu's name; what a button or modal carries.
        missing: what keeps the bot from posting in the channel; empty: it may.
        target: the message that was pressed, chosen or replied to, `"<channel>:<message>"`.
        text: what was written: a modal's answer, a message without its mention.
        at: when, seconds since 1970.
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
        """Only a server's own channel can be; of a place that the bot was not added to nothing is known."""
        return self.nsfw and bool(self.guild_id) and texts.NOT_INSTALLED not in self.missing

    @property
    def job_key(self) -> str:
        """The idempotency key of whatever job this event asks for."""
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
    """From what `to_json` wrote, perhaps by an older version."""
    known = {one.name for one in fields(DiscordEvent)}
    values = {name: value for name, value in body.items() if name in known}
    values["pictures"] = tuple(AttachedFile(**one) for one in values.get("pictures", ()))
    values["missing"] = tuple(values.get("missing", ()))
    return DiscordEvent(**values)
