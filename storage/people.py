"""People, their platform accounts, and their API keys."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, delete, exists, func, insert, or_, select, update

from bot.errors import NotFound
from bot.ports import ApiKey, Person
from storage.blocking import find_block
from storage.database import Database
from storage.mapping import JobRow
from storage.picture_tables import session
from storage.schema import account, api_key, person, person_load, person_setting, utcnow

LOCAL_ACCOUNT = ("local", "local")
NAMED_PLATFORM = "name"
"""The platform of persons created by name. Display names identify nobody: anyone can choose any."""

LOCKED = "locked"
"""Setting of the local person, "yes" or "no": whether requests without a key are refused. Absent: they are if there is
any key, even a revoked one."""

LAST_USED_PRECISION_S = 60
"""Precision of an API key's `last_used_at`, seconds."""


IS_ACTIVE = api_key.c.revoked_at.is_(None)
_HAS_ACTIVE_KEY = exists().where(IS_ACTIVE)
_LOCKED_SETTING = (
    select(person_setting.c.value)
    .join(account, account.c.person == person_setting.c.person)
    .where(account.c.platform == LOCAL_ACCOUNT[0], account.c.account_id == LOCAL_ACCOUNT[1])
    .where(person_setting.c.name == LOCKED)
    .scalar_subquery()
)


class SqlPeople:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def local_person(self) -> Person:
        return await self._find_or_make(*LOCAL_ACCOUNT, name="local")

    async def identify_account(self, platform: str, account_id: str, name: str) -> Person:
        if platform in (LOCAL_ACCOUNT[0], NAMED_PLATFORM):
            raise ValueError(f"{platform} is not a chat platform")
        return await self._find_or_make(platform, account_id, name)

    async def names_of(self, platform: str, account_id: str) -> frozenset[str]:
        return await self._database.run_read(lambda tx: _names_of(tx, platform, account_id))

    async def person_named(self, name: str) -> Person:
        return await self._find_or_make(NAMED_PLATFORM, name, name)

    async def _find_or_make(self, platform: str, account_id: str, name: str) -> Person:
        found = await self._database.run_read(lambda tx: _find(tx, platform, account_id))
        if found is not None and found[1] == name:
            return found[0]
        return await self._database.run_write(lambda tx: _find_or_make(tx, platform, account_id, name))

    async def get_settings(self, person_id: str) -> Mapping[str, Any]:
        own = select(person_setting).where(person_setting.c.person == person_id).order_by(person_setting.c.name)
        return await self._database.run_read(lambda tx: {row.name: row.value for row in tx.execute(own)})

    async def set_setting(self, person_id: str, name: str, value: Any) -> None:
        await self._database.run_write(lambda tx: _set_own(tx, person_id, name, value))

    async def clear_setting(self, person_id: str, name: str) -> None:
        own = delete(person_setting).where(*_is_setting(person_id, name))
        await self._database.run_deletion(lambda tx: tx.execute(own).rowcount)

    async def add_key(
        self, prefix: str, secret_hash: str, person: Person, is_admin: bool, name: str | None = None
    ) -> ApiKey:
        key = ApiKey(prefix=prefix, person=person, is_admin=is_admin, created_at=utcnow(), name=name)
        row = {
            "prefix": prefix,
            "secret_hash": secret_hash,
            "person": person.id,
            "is_admin": is_admin,
            "created_at": key.created_at,
            "name": name,
        }
        await self._database.run_write(lambda tx: _add_key(tx, row))
        return key

    async def find_key(self, prefix: str) -> tuple[ApiKey, str] | None:
        row = await self._database.run_read(
            lambda tx: tx.execute(select_keys().where(api_key.c.prefix == prefix, IS_ACTIVE)).one_or_none()
        )
        if row is None:
            return None
        self._record_use(prefix)
        return to_key(row), row.secret_hash

    async def list_keys(self) -> list[ApiKey]:
        rows = await self._database.run_read(
            lambda tx: tx.execute(select_keys().order_by(api_key.c.created_at, api_key.c.prefix)).all()
        )
        return [to_key(row) for row in rows]

    async def revoke_key(self, prefix: str) -> ApiKey:
        return await self._database.run_write(lambda tx: _revoke(tx, prefix))

    async def has_keys(self) -> bool:
        return bool(await self._database.run_read(lambda tx: tx.scalar(select(_HAS_ACTIVE_KEY))))

    async def is_locked(self) -> bool:
        return await self._database.run_read(is_locked)

    async def unlock(self) -> int:
        return await self._database.run_write(_unlock)

    def _record_use(self, prefix: str) -> None:
        """Best effort, without waiting."""
        now = utcnow()
        is_stale = or_(
            api_key.c.last_used_at.is_(None), api_key.c.last_used_at < now - timedelta(seconds=LAST_USED_PRECISION_S)
        )
        used = update(api_key).where(api_key.c.prefix == prefix, is_stale).values(last_used_at=now)
        self._database.submit(lambda tx: tx.execute(used).rowcount)


def _find(tx: Connection, platform: str, account_id: str) -> tuple[Person, str | None] | None:
    """The account's person, and the name of the account."""
    query = select(person, account.c.name.label("account_name")).join(account)
    row = tx.execute(query.where(*_is_account(platform, account_id))).one_or_none()
    return None if row is None else (to_person(row), row.account_name)


def _names_of(tx: Connection, platform: str, account_id: str) -> frozenset[str]:
    p = person.c
    known = tx.scalar(select(account.c.person).where(*_is_account(platform, account_id)))
    own_id = known or tx.scalar(select(func.coalesce(p.merged_into, p.id)).where(p.id == account_id))
    if own_id is None:
        return frozenset()
    is_chat = account.c.platform.not_in([LOCAL_ACCOUNT[0], NAMED_PLATFORM])
    accounts = tx.scalars(select(account.c.account_id).where(account.c.person == own_id, is_chat))
    persons = tx.scalars(select(p.id).where(or_(p.id == own_id, p.merged_into == own_id)))
    return frozenset([*accounts, *persons])


def _is_account(platform: str, account_id: str) -> tuple[ColumnElement[bool], ...]:
    return account.c.platform == platform, account.c.account_id == account_id


def _find_or_make(tx: Connection, platform: str, account_id: str, name: str) -> Person:
    """The account's person, created on first contact. Its name is that of the account it is named after."""
    known = _find(tx, platform, account_id)
    if known is not None:
        found, former_name = known
        tx.execute(update(account).where(*_is_account(platform, account_id)).values(name=name))
        if former_name in (None, found.name):
            tx.execute(update(person).where(person.c.id == found.id).values(name=name))
            return replace(found, name=name)
        return found
    is_local = (platform, account_id) == LOCAL_ACCOUNT
    blocked_at = find_block(tx, platform, account_id)
    is_blocked = blocked_at is not None
    created = Person(id=secrets.token_hex(8), name=name, is_local=is_local, is_admin=is_local, is_blocked=is_blocked)
    row = {"id": created.id, "name": name, "is_local": is_local, "is_admin": is_local, "created_at": utcnow()}
    tx.execute(insert(person), {**row, "blocked_at": blocked_at})
    tx.execute(insert(person_load), {"person": created.id, "running": 0, "outstanding": 0})
    tx.execute(insert(account), {"platform": platform, "account_id": account_id, "person": created.id, "name": name})
    return created


def _is_setting(person_id: str, name: str) -> tuple[ColumnElement[bool], ...]:
    return person_setting.c.person == person_id, person_setting.c.name == name


def refuse_forgotten(tx: Connection, person_id: str) -> None:
    """A request that began before its person was forgotten must not store anything. Raises: NotFound."""
    if tx.scalar(select(person.c.forgotten).where(person.c.id == person_id)):
        raise NotFound("person", "")


def _set_own(tx: Connection, person_id: str, name: str, value: Any) -> None:
    refuse_forgotten(tx, person_id)
    _set(tx, person_id, name, value)


def _set(tx: Connection, person_id: str, name: str, value: Any) -> None:
    if not tx.execute(update(person_setting).where(*_is_setting(person_id, name)).values(value=value)).rowcount:
        tx.execute(insert(person_setting), {"person": person_id, "name": name, "value": value})


def _add_key(tx: Connection, row: Mapping[str, Any]) -> None:
    refuse_forgotten(tx, row["person"])
    tx.execute(insert(api_key), row)
    lock(tx)


def lock(tx: Connection) -> None:
    """Refuse requests without a key, until `_unlock`."""
    _set(tx, _find_or_make(tx, *LOCAL_ACCOUNT, "local").id, LOCKED, "yes")


def is_locked(tx: Connection) -> bool:
    has_active, setting, has_any = tx.execute(select(_HAS_ACTIVE_KEY, _LOCKED_SETTING, exists(select(api_key)))).one()
    return bool(has_active or (has_any if setting is None else setting == "yes"))


def _unlock(tx: Connection) -> int:
    """The number of active keys; with one or more, the server stays locked."""
    active = tx.scalar(select(func.count()).select_from(api_key).where(IS_ACTIVE)) or 0
    if not active:
        _set(tx, _find_or_make(tx, *LOCAL_ACCOUNT, "local").id, LOCKED, "no")
    return active


def _revoke(tx: Connection, prefix: str) -> ApiKey:
    row = tx.execute(select_keys().where(api_key.c.prefix == prefix)).one_or_none() if prefix.isascii() else None
    if row is None:
        raise NotFound("key", prefix)
    if row.revoked_at is None:
        tx.execute(update(api_key).where(api_key.c.prefix == prefix).values(revoked_at=utcnow()))
        tx.execute(delete(session).where(session.c.key == prefix))
    return to_key(tx.execute(select_keys().where(api_key.c.prefix == prefix)).one())


def revoked_keys(tx: Connection) -> dict[str, datetime]:
    """When each revoked key was revoked, by prefix."""
    k = api_key.c
    return {row.prefix: row.revoked_at for row in tx.execute(select(k.prefix, k.revoked_at).where(~IS_ACTIVE))}


def revoke_keys(tx: Connection, revoked: Mapping[str, datetime]) -> None:
    """Those of them that exist and are active."""
    for prefix, revoked_at in revoked.items():
        tx.execute(update(api_key).where(api_key.c.prefix == prefix, IS_ACTIVE).values(revoked_at=revoked_at))


def select_keys() -> Select[Any]:
    return select(api_key, person).join(person, person.c.id == api_key.c.person)


def to_person(row: JobRow, table: FromClause = person) -> Person:
    """`table`: the person table, or an alias of it."""
    of = row._mapping
    names = ("id", "name", "is_local", "is_admin", "daily_s")
    is_blocked = of[table.c.blocked_at] is not None
    return Person(**{name: of[table.c[name]] for name in names}, is_blocked=is_blocked)


def to_key(row: JobRow) -> ApiKey:
    of = row._mapping
    names = ("prefix", "is_admin", "created_at", "last_used_at", "revoked_at", "name")
    return ApiKey(**{name: of[api_key.c[name]] for name in names}, person=to_person(row))
