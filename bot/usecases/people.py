"""People: identity, default options, personal data, quota and API keys."""

import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from bot.commands import Imagine
from bot.errors import InvalidOption, Unauthorized
from bot.jobs import ImageRef, Job
from bot.models import IMAGE_TASKS, ModelRegistry
from bot.options import check_bytes, clean_excerpt, clean_text, find_spec
from bot.ports import ApiKey, Ledger, People, Person, Privacy
from bot.usecases.access import KEYLESS, AccessWatch

log = structlog.get_logger()

_NOBODY = hashlib.sha256(b"nobody").hexdigest()
MAX_NAME = 60
_MAX_KNOWN = 10_000
_PREFIX = re.compile("[0-9a-f]{8}")
_KEY = re.compile(rf"{_PREFIX.pattern}\.[\w-]{{43}}", re.ASCII)


def is_key(text: str) -> bool:
    """Whether it has the form of an API key; it may be revoked, or never have been one."""
    return _KEY.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Device-seconds of the UTC day. `limit` None: unlimited."""

    limit: float | None
    used: float
    reserved: float
    resets_at: datetime


def next_day(now: datetime) -> datetime:
    return (now.astimezone(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)


DEFAULT_OPTIONS = (
    "model", "size", "aspect", "steps", "guidance_scale", "negative_prompt", "count", "strength",
)  # fmt: skip
"""The options of `imagine` that people can set defaults for."""
CHECKPOINT = "checkpoint"
"""The setting beside them: see `get_checkpoint`."""


@dataclass(frozen=True)
class PeopleUseCases:
    """`on_forgotten` receives the jobs that were running when their owner was forgotten; `forget_searches` drops what
    is in memory of what owners searched for."""

    people: People
    ledger: Ledger
    privacy: Privacy
    models: ModelRegistry
    on_forgotten: Callable[[Iterable[Job]], None] = lambda _jobs: None
    forget_searches: Callable[[Collection[str]], None] = lambda _owners: None
    access: AccessWatch = field(default_factory=AccessWatch)
    _known: "OrderedDict[str, str]" = field(default_factory=OrderedDict)
    """The prefixes of keys that were used lately, by the hash of the whole key."""

    async def local_person(self) -> Person:
        return await self.people.local_person()

    async def identify_account(self, platform: str, account_id: str, name: str) -> Person:
        """The person behind a platform account, created on first contact."""
        return await self.people.identify_account(platform, account_id, clean_excerpt(name, MAX_NAME))

    # ------------------------------------------------------------ default options

    async def get_defaults(self, person: Person) -> Mapping[str, Any]:
        """By option name, in the order of `DEFAULT_OPTIONS`."""
        stored = await self.people.get_settings(person.id)
        return {name: stored[name] for name in DEFAULT_OPTIONS if name in stored}

    async def set_default(self, person: Person, name: str, value: Any) -> Mapping[str, Any]:
        """Validated like the option itself; size and aspect replace each other. Returns all defaults.

        Raises: InvalidOption.
        """
        spec = find_spec(_DEFAULT_SPECS, name)
        checked = spec.parse(value, name)
        if checked == "":
            raise InvalidOption(name, "no_value")
        probe = Imagine(
            values={"prompt": "x", spec.name: checked}, images=_ANY_IMAGE if spec.name == "strength" else ()
        )
        probe.fill_options(probe.choose_model(self.models), 0)
        for other in {"size", "aspect"} - {spec.name} if spec.name in ("size", "aspect") else ():
            await self.people.clear_setting(person.id, other)
        await self.people.set_setting(person.id, spec.name, checked)
        return await self.get_defaults(person)

    async def clear_default(self, person: Person, name: str) -> Mapping[str, Any]:
        """Returns the remaining defaults. Raises: InvalidOption."""
        await self.people.clear_setting(person.id, find_spec(_DEFAULT_SPECS, name).name)
        return await self.get_defaults(person)

    async def get_checkpoint(self, person: Person) -> str:
        """The model that the person's programs have selected, as in AUTOMATIC1111's options; "": none that is here."""
        name = str((await self.people.get_settings(person.id)).get(CHECKPOINT) or "")
        return name if name in self._image_models() else ""

    async def set_checkpoint(self, person: Person, name: str) -> None:
        """For this person's programs alone; their default in chats stays. Raises: InvalidOption."""
        known = self._image_models()
        if name not in known:
            raise InvalidOption("model", "choice", value=name, allowed=", ".join(known))
        await self.people.set_setting(person.id, CHECKPOINT, name)

    def _image_models(self) -> list[str]:
        return [spec.name for spec in self.models if IMAGE_TASKS & set(spec.tasks)]

    # ------------------------------------------------------------ personal data

    async def export_person(self, person: Person, *, max_bytes: int | None = None) -> Path:
        """A zip of all data stored about the person, which the caller deletes. With `max_bytes`, it has the newest
        images that fit. Raises: StorageFull."""
        return await self.privacy.export_person(person.id, max_bytes=max_bytes)

    async def forget_person(self, person: Person, *, with_linked: bool = True) -> None:
        """Cancel the person's open jobs and erase all their data, of all their accounts; the ledger stays, anonymized.

        Raises: LinkRefused: there are several accounts, and `with_linked` is false.
        """
        self.on_forgotten(await self.privacy.forget_person(person.id, with_linked=with_linked))
        self.forget_searches({person.id})
        self.access.end(person.id)
        log.info("a person was forgotten", action="person_forgotten", person=person.id)

    # ------------------------------------------------------------ quota and keys

    async def get_quota(self, person: Person, limit: float | None) -> Quota:
        now = datetime.now(UTC)
        usage = await self.ledger.daily_usage(person.id, now.date().isoformat())
        return Quota(limit=limit, used=usage.used, reserved=usage.reserved, resets_at=next_day(now))

    async def create_key(self, name: str | None, *, is_admin: bool) -> tuple[ApiKey, str]:
        """Create a key; returns it and its text `prefix.secret`, which is not stored. Without a name it is the local
        person's.

        Raises: InvalidOption.
        """
        person = await self.people.local_person() if name is None else await self.named_person(name)
        return await self.create_key_for(person, is_admin=is_admin)

    async def named_person(self, name: str) -> Person:
        """The person with this name, created if there is none. Raises: InvalidOption."""
        return await self.people.person_named(_check_name(name))

    async def create_key_for(self, person: Person, *, is_admin: bool, name: str | None = None) -> tuple[ApiKey, str]:
        """`name`: what the key is for. Raises: InvalidOption."""
        name = None if name is None else _check_name(name, "name")
        prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        key = await self.people.add_key(prefix, _hash_secret(secret), person, is_admin, name)
        self.access.end(KEYLESS)
        return key, f"{prefix}.{secret}"

    async def has_keys(self) -> bool:
        return await self.people.has_keys()

    async def is_locked(self) -> bool:
        return await self.people.is_locked()

    async def unlock(self) -> int:
        """Returns the number of active keys; with one or more, the server stays locked."""
        return await self.people.unlock()

    async def list_keys(self) -> list[ApiKey]:
        return await self.people.list_keys()

    async def revoke_key(self, prefix: str) -> ApiKey:
        """Also ends the key's open streams. Raises: NotFound."""
        revoked = await self.people.revoke_key(prefix)
        self.access.end(prefix)
        return revoked

    async def is_active(self, prefix: str) -> bool:
        """Whether the key exists and is not revoked."""
        return await self.people.find_key(prefix) is not None

    async def authenticate(self, text: str) -> tuple[Person, ApiKey]:
        """Takes equally long for unknown prefixes and wrong secrets. Raises: Unauthorized."""
        prefix, _, secret = text.partition(".")
        found = await self.people.find_key(prefix) if _PREFIX.fullmatch(prefix) else None
        expected = found[1] if found else _NOBODY
        if not hmac.compare_digest(_hash_secret(secret), expected) or found is None:
            raise Unauthorized
        self._known[_hash_secret(text)] = prefix
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return found[0].person, found[0]

    def find_key_name(self, text: str) -> str | None:
        """The prefix of a key that was used lately. Nothing is checked: for counting requests."""
        return self._known.get(_hash_secret(text))


_DEFAULT_SPECS = tuple(spec for spec in Imagine.specs if spec.name in DEFAULT_OPTIONS)
_ANY_IMAGE = (ImageRef("0" * 64),)


def _check_name(name: str, option: str = "person") -> str:
    check_bytes(option, name, MAX_NAME)
    name = clean_text(name)
    if not 1 <= len(name) <= MAX_NAME:
        raise InvalidOption(option, "long" if name else "empty", value=len(name), allowed=str(MAX_NAME))
    return name


def _hash_secret(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
