"""Blocked persons. A block holds for all accounts of a person, also for those that are unlinked or that forget."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from storage.moderation_tables import blocked_account
from storage.schema import account, person, utcnow


def set_blocked(tx: Connection, person_id: str, *, is_blocked: bool) -> None:
    """Idempotent: the time of the first block stays."""
    p = person.c
    if is_blocked:
        tx.execute(update(person).where(p.id == person_id, p.blocked_at.is_(None)).values(blocked_at=utcnow()))
        return
    tx.execute(update(person).where(p.id == person_id).values(blocked_at=None))
    tx.execute(delete(blocked_account).where(blocked_account.c.account_hash.in_(_hash_accounts(tx, person_id))))


def remember_block(tx: Connection, person_id: str) -> None:
    """Before a person is forgotten: their accounts will create a new one."""
    if tx.scalar(select(person.c.blocked_at).where(person.c.id == person_id)) is None:
        return
    _remember(tx, _hash_accounts(tx, person_id))


def _remember(tx: Connection, hashes: Iterable[str]) -> None:
    known = set(tx.scalars(select(blocked_account.c.account_hash)))
    if new := [{"account_hash": one} for one in hashes if one not in known]:
        tx.execute(insert(blocked_account), new)


def find_block(tx: Connection, platform: str, account_id: str) -> datetime | None:
    """Since when a new person with this account is blocked."""
    is_same = blocked_account.c.account_hash == hash_account(platform, account_id)
    return utcnow() if tx.scalar(select(blocked_account.c.account_hash).where(is_same)) is not None else None


@dataclass(frozen=True)
class Blocks:
    """Since when persons are blocked, by id, and the hashes of their accounts and of those that stay blocked."""

    persons: Mapping[str, datetime] = field(default_factory=dict)
    accounts: frozenset[str] = frozenset()


def read_blocks(tx: Connection) -> Blocks:
    p = person.c
    persons = {
        row.id: row.blocked_at for row in tx.execute(select(p.id, p.blocked_at).where(p.blocked_at.is_not(None)))
    }
    hashes = [one for person_id in persons for one in _hash_accounts(tx, person_id)]
    return Blocks(persons, frozenset([*hashes, *tx.scalars(select(blocked_account.c.account_hash))]))


def add_blocks(tx: Connection, blocks: Blocks) -> None:
    """Persons who do not exist yet are blocked when they come."""
    for person_id, since in blocks.persons.items():
        is_free = (person.c.id == person_id) & person.c.blocked_at.is_(None)
        tx.execute(update(person).where(is_free).values(blocked_at=since))
    _remember(tx, blocks.accounts)


def _hash_accounts(tx: Connection, person_id: str) -> list[str]:
    rows = tx.execute(select(account).where(account.c.person == person_id))
    return [hash_account(row.platform, row.account_id) for row in rows]


def hash_account(platform: str, account_id: str) -> str:
    return hashlib.sha256(f"{platform}:{account_id}".encode()).hexdigest()
