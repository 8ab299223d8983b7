"""Blocked persons. A block holds for all accounts of a person, also for those that are unlinked or that forget."""

import hashlib
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
    known = set(tx.scalars(select(blocked_account.c.account_hash)))
    if new := [{"account_hash": one} for one in _hash_accounts(tx, person_id) if one not in known]:
        tx.execute(insert(blocked_account), new)


def find_block(tx: Connection, platform: str, account_id: str) -> datetime | None:
    """Since when a new person with this account is blocked."""
    is_same = blocked_account.c.account_hash == hash_account(platform, account_id)
    return utcnow() if tx.scalar(select(blocked_account.c.account_hash).where(is_same)) is not None else None


def _hash_accounts(tx: Connection, person_id: str) -> list[str]:
    rows = tx.execute(select(account).where(account.c.person == person_id))
    return [hash_account(row.platform, row.account_id) for row in rows]


def hash_account(platform: str, account_id: str) -> str:
    return hashlib.sha256(f"{platform}:{account_id}".encode()).hexdigest()
