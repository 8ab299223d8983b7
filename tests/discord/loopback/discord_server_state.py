"""What the loopback Discord knows: people, servers, channels, messages, interactions. Its clock can be moved on."""

import asyncio
import itertools
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

EPOCH_MS = 1_420_070_400_000
VIEW, SEND, ATTACH, HISTORY, THREADS = 1 << 10, 1 << 11, 1 << 15, 1 << 16, 1 << 38
EVERYTHING = VIEW | SEND | ATTACH | HISTORY | THREADS | 1 << 14
MIB = 2**20
TEXT, DM, GROUP, THREAD = 0, 1, 3, 11
ADMIN_CONTENT = 1 << 15
"""The privileged intent "message content"."""


@dataclass
class Person:
    id: int
    name: str
    is_bot: bool = False
    locale: str = "en-US"
    blocks_bot: bool = False

    def json(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "username": self.name,
            "global_name": self.name,
            "discriminator": "0",
            "avatar": None,
            "bot": self.is_bot,
            "public_flags": 0,
        }


@dataclass
class Channel:
    id: int
    kind: int = TEXT
    guild: "Guild | None" = None
    permissions: int = EVERYTHING
    nsfw: bool = False
    parent: "Channel | None" = None
    is_locked: bool = False
    people: list[Person] = field(default_factory=list)
    messages: dict[int, "Message"] = field(default_factory=dict)

    @property
    def visible(self) -> list["Message"]:
        """What everybody sees, the oldest first."""
        return [one for one in self.messages.values() if one.ephemeral_for is None]

    @property
    def from_bot(self) -> list["Message"]:
        return [one for one in self.visible if one.author.is_bot]

    def json(self) -> dict[str, Any]:
        made: dict[str, Any] = {"id": str(self.id), "type": self.kind, "flags": 0, "last_message_id": None}
        if self.kind in (DM, GROUP):
            return made | {
                "recipients": [one.json() for one in self.people],
                "name": None,
                "icon": None,
                "owner_id": "1",
            }
        made |= {"name": f"channel-{self.id}", "guild_id": str(self.guild.id) if self.guild else None, "position": 0}
        made |= {"permission_overwrites": [], "nsfw": self.nsfw, "topic": None, "rate_limit_per_user": 0}
        made["parent_id"] = str(self.parent.id) if self.parent else None
        if self.kind == THREAD:
            metadata: dict[str, Any] = {
                "archived": self.is_locked,
                "locked": self.is_locked,
                "auto_archive_duration": 60,
            }
            metadata["archive_timestamp"] = "2026-01-01T00:00:00+00:00"
            made |= {"owner_id": "1", "message_count": 1, "member_count": 1, "thread_metadata": metadata}
        return made


@dataclass
class Guild:
    id: int
    has_bot: bool = True
    size_limit: int = 10 * MIB
    locale: str = "en-US"
    channels: list[Channel] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        everyone = {
            "id": str(self.id),
            "name": "@everyone",
            "permissions": str(EVERYTHING),
            "position": 0,
            "color": 0,
            "hoist": False,
            "managed": False,
            "mentionable": False,
            "flags": 0,
        }
        return {
            "id": str(self.id),
            "name": f"guild-{self.id}",
            "icon": None,
            "owner_id": "1",
            "roles": [everyone],
            "emojis": [],
            "features": [],
            "stickers": [],
            "verification_level": 0,
            "premium_tier": 0,
            "nsfw_level": 0,
            "default_message_notifications": 0,
            "explicit_content_filter": 0,
            "mfa_level": 0,
            "afk_timeout": 60,
            "system_channel_flags": 0,
            "preferred_locale": self.locale,
            "premium_progress_bar_enabled": False,
            "joined_at": "2026-01-01T00:00:00+00:00",
            "large": False,
            "member_count": 3,
            "members": [],
            "channels": [one.json() for one in self.channels if one.kind != THREAD],
            "threads": [one.json() for one in self.channels if one.kind == THREAD],
            "voice_states": [],
            "presences": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "unavailable": False,
        }


@dataclass
class Attachment:
    id: int
    filename: str
    data: bytes
    url: str
    expires: float
    description: str | None = None
    content_type: str | None = "image/png"

    @property
    def is_spoiler(self) -> bool:
        return self.filename.startswith("SPOILER_")

    def json(self) -> dict[str, Any]:
        made = {"id": str(self.id), "filename": self.filename, "size": len(self.data), "url": self.url}
        made |= {"proxy_url": self.url, "content_type": self.content_type, "ephemeral": False}
        return made | ({"description": self.description} if self.description else {})


@dataclass
class Message:
    id: int
    channel: Channel
    author: Person
    content: str = ""
    attachments: list[Attachment] = field(default_factory=list)
    components: list[dict[str, Any]] = field(default_factory=list)
    flags: int = 0
    nonce: str | None = None
    reply_to: int | None = None
    mentions: list[Person] = field(default_factory=list)
    snapshots: list["Message"] = field(default_factory=list)
    kind: int = 0
    ephemeral_for: Person | None = None
    webhook: str | None = None
    """The interaction token that made it."""
    created: float = 0.0
    edits: list[dict[str, Any]] = field(default_factory=list)
    """Every body it was given by edits."""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def buttons(self) -> list[str]:
        return [one["custom_id"] for row in self.components for one in row["components"]]

    def button(self, action: str) -> str:
        return next(one for one in self.buttons if one.split(":")[1] == action)

    def json(self, *, nested: bool = True, is_blank: bool = False) -> dict[str, Any]:
        made: dict[str, Any] = {
            "id": str(self.id),
            "channel_id": str(self.channel.id),
            "author": self.author.json(),
            "content": "" if is_blank else self.content,
            "timestamp": "2026-01-01T00:00:00+00:00",
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mention_roles": [],
            "embeds": [],
            "mentions": [one.json() for one in self.mentions],
            "pinned": False,
            "flags": self.flags,
            "attachments": [] if is_blank else [one.json() for one in self.attachments],
            "components": [] if is_blank else self.components,
            "type": 19 if self.reply_to else self.kind,
        }
        if self.channel.guild is not None:
            made["guild_id"] = str(self.channel.guild.id)
        if self.nonce is not None:
            made["nonce"] = self.nonce
        if self.reply_to is not None:
            made["message_reference"] = {
                "type": 0,
                "message_id": str(self.reply_to),
                "channel_id": str(self.channel.id),
            }
            replied = self.channel.messages.get(self.reply_to)
            if nested:
                made["referenced_message"] = replied.json(nested=False) if replied else None
        if self.snapshots:
            made["message_snapshots"] = (
                [] if is_blank else [{"message": one.json(nested=False)} for one in self.snapshots]
            )
        return made | self.extra


@dataclass
class Interaction:
    """One interaction from Discord's side, with what came back."""

    id: int
    token: str
    kind: int
    person: Person
    channel: Channel
    created: float
    message: Message | None = None
    answers: list[dict[str, Any]] = field(default_factory=list)
    answered_after_s: float | None = None
    is_deferred: bool = False
    is_thinking: bool = False
    original: Message | None = None
    messages: list[Message] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_answered(self) -> bool:
        return bool(self.answers)

    @property
    def texts(self) -> list[str]:
        """What its person read in answers of its own, the placeholder of a deferral left out."""
        return [one.content for one in self.messages if one.content]

    @property
    def modal(self) -> dict[str, Any] | None:
        return next((one["data"] for one in self.answers if one["type"] == 9), None)


@dataclass
class Call:
    """One request that came in."""

    method: str
    path: str
    body: Any
    files: dict[str, bytes]
    query: dict[str, str] = field(default_factory=dict)
    status: int = 0
    at: float = field(default_factory=time.monotonic)


class DiscordServerState:
    def __init__(self) -> None:
        self._serial = itertools.count(1)
        self._moved_s = 0.0
        self.token = "a-bot-token"
        self.bot = Person(self.new_id(), "Easel", is_bot=True)
        self.application_id = self.new_id()
        self.people: dict[int, Person] = {self.bot.id: self.bot}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        self.files: dict[str, Attachment] = {}
        self.interactions: dict[str, Interaction] = {}
        self.commands: list[dict[str, Any]] = []
        self.calls: list[Call] = []
        self.problems: list[str] = []
        """Requests that broke Discord's own rules."""
        self.edits_after_an_hour = 3
        self.may_read_content = False
        """The owner switched the privileged intent on."""
        self.base = ""
        self.on_event: Any = None
        """Set by the gateway: takes (name, data)."""
        self.nonces: dict[tuple[int, str], tuple[float, Message]] = {}
        self.dms: defaultdict[int, list[Channel]] = defaultdict(list)

    # ------------------------------------------------------------ time and names

    def now(self) -> float:
        return time.time() + self._moved_s

    def advance_clock(self, seconds: float) -> None:
        self._moved_s += seconds

    def new_id(self) -> int:
        return ((int(self.now() * 1000) - EPOCH_MS) << 22) + next(self._serial)

    # ------------------------------------------------------------ building

    def person(self, name: str = "ann", **more: Any) -> Person:
        made = Person(self.new_id(), name, **more)
        self.people[made.id] = made
        return made

    def guild(self, **more: Any) -> Guild:
        made = Guild(self.new_id(), **more)
        self.guilds[made.id] = made
        return made

    def channel(self, guild: Guild | None = None, **more: Any) -> Channel:
        guild = guild or next(iter(self.guilds.values()), None) or self.guild()
        made = Channel(self.new_id(), guild=guild, **more)
        guild.channels.append(made)
        self.channels[made.id] = made
        return made

    def dm(self, person: Person) -> Channel:
        """The bot's private chat with this person."""
        known = self.dms[person.id]
        if not known:
            known.append(Channel(self.new_id(), kind=DM, people=[person]))
            self.channels[known[0].id] = known[0]
        return known[0]

    def file(self, filename: str, data: bytes, content_type: str | None = "image/png", **more: Any) -> Attachment:
        number = self.new_id()
        url = f"{self.base}/cdn/attachments/1/{number}/{filename}"
        made = Attachment(number, filename, data, url, self.now() + 86_400, content_type=content_type, **more)
        self.files[f"{number}/{filename}"] = made
        return made

    def post(self, channel: Channel, author: Person, content: str = "", **more: Any) -> Message:
        made = Message(self.new_id(), channel, author, content, created=self.now(), **more)
        channel.messages[made.id] = made
        return made

    def remove(self, message: Message) -> None:
        message.channel.messages.pop(message.id, None)

    # ------------------------------------------------------------ looking back

    def sent(self, method: str, part: str) -> list[Call]:
        return [one for one in self.calls if one.method == method and part in one.path]

    def is_blank(self, message: Message) -> bool:
        """Without the privileged intent the bot does not see what is none of its business."""
        return not (
            self.may_read_content
            or message.author is self.bot
            or message.channel.kind == DM
            or self.bot in message.mentions
        )
