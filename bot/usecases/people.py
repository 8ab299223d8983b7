"""Who is asking, what they may use today, and API keys."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bot.commands import Imagine
from bot.errors import InvalidOption, Unauthorized
from bot.jobs import ImageRef, Job
from bot.models import Models
from bot.options import clean_text, find_spec
from bot.ports import ApiKey, Ledger, People, Person, Privacy

_NOBODY = hashlib.sha256(b"nobody").hexdigest()
MAX_NAME = 60
_PREFIX = re.compile("[0-9a-f]{8}")


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Device-seconds of the UTC day. `limit` None: unlimited."""

    limit: float | None
    used: float
    reserved: float
    resets_at: datetime


def next_day(now: datetime) -> datetime:
    return (now.astimezone(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)


DEFAULTS = (
    "model", "size", "aspect", "steps", "guidance_scale", "negative_prompt", "count", "strength",
)  # fmt: skip
"""The options of `imagine` that a person may have defaults of their own for."""


@dataclass(frozen=True)
class PeopleUseCases:
    """`stop` is told which jobs were forgotten while they ran."""

    people: People
    ledger: Ledger
    privacy: Privacy
    models: Models
    stop: Callable[[Iterable[Job]], None] = lambda _jobs: None

    async def local(self) -> Person:
        return await self.people.local()

    async def identify(self, platform: str, account_id: str, name: str) -> Person:
        """The person behind a platform's account, made on first contact."""
        return await self.people.identify(platform, account_id, clean_text(name)[:MAX_NAME])

    # ------------------------------------------------------------ one's own defaults

    async def defaults(self, person: Person) -> Mapping[str, Any]:
        """By option name, in the order of `DEFAULTS`."""
        kept = await self.people.settings(person.id)
        return {name: kept[name] for name in DEFAULTS if name in kept}

    async def set_default(self, person: Person, name: str, value: Any) -> Mapping[str, Any]:
        """Checked like the option itself; a size and an aspect take each other's place. Returns all defaults.

        Raises: InvalidOption.
        """
        spec = find_spec(_DEFAULT_SPECS, name)
        checked = spec.parse(value, name)
        if checked == "":
            raise InvalidOption(name, "no_value")
        probe = Imagine(values={"prompt": "x", spec.name: checked}, images=_ANY if spec.name == "strength" else ())
        probe.fill_options(probe.choose_model(self.models), 0)
        for other in {"size", "aspect"} - {spec.name} if spec.name in ("size", "aspect") else ():
            await self.people.clear_setting(person.id, other)
        await self.people.set_setting(person.id, spec.name, checked)
        return await self.defaults(person)

    async def clear_default(self, person: Person, name: str) -> Mapping[str, Any]:
        """Returns what is left. Raises: InvalidOption."""
        await self.people.clear_setting(person.id, find_spec(_DEFAULT_SPECS, name).name)
        return await self.defaults(person)

    # ------------------------------------------------------------ one's own data

    async def export(self, person: Person, *, max_bytes: int | None = None) -> Path:
        """A zip of everything kept of the person; whoever asked removes it. With `max_bytes`, the newest pictures
        that fit. Raises: StorageFull."""
        return await self.privacy.export(person.id, max_bytes=max_bytes)

    async def forget(self, person: Person) -> None:
        """Cancel their open jobs, delete everything, and keep the books without a name."""
        self.stop(await self.privacy.forget(person.id))

    # ------------------------------------------------------------ quota and keys

    async def quota(self, person: Person, limit: float | None) -> Quota:
        now = datetime.now(UTC)
        usage = await self.ledger.usage(person.id, now.date().isoformat())
        return Quota(limit=limit, used=usage.used, reserved=usage.reserved, resets_at=next_day(now))

    async def create_key(self, name: str | None, *, is_admin: bool) -> tuple[ApiKey, str]:
        """A new key and its text `prefix.secret`, which is shown this once. Without a name it is the local person's.

        Raises: InvalidOption.
        """
        person = await self.people.local() if name is None else await self.people.by_name(_check_name(name))
        prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        key = await self.people.add_key(prefix, _hash(secret), person, is_admin)
        return key, f"{prefix}.{secret}"

    async def authenticate(self, text: str) -> tuple[Person, ApiKey]:
        """Takes the same time for unknown prefixes and wrong secrets. Raises: Unauthorized."""
        prefix, _, secret = text.partition(".")
        found = await self.people.find_key(prefix) if _PREFIX.fullmatch(prefix) else None
        expected = found[1] if found else _NOBODY
        if not hmac.compare_digest(_hash(secret), expected) or found is None:
            raise Unauthorized
        return found[0].person, found[0]


_DEFAULT_SPECS = tuple(spec for spec in Imagine.specs if spec.name in DEFAULTS)
_ANY = (ImageRef("0" * 64),)


def _check_name(name: str) -> str:
    name = clean_text(name)
    if not 1 <= len(name) <= MAX_NAME:
        raise InvalidOption("person", "long" if name else "empty", value=len(name), allowed=str(MAX_NAME))
    return name


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
