"""One-time links that begin a session of an API key: `bot.ports.KeyLinkStore`.

They are sessions that have not begun: whatever ends or forgets the sessions of a key ends its links too. Their hashes
are marked, so that no token of a session can have one.
"""

from datetime import datetime

from sqlalchemy import Connection, delete, exists, insert, select

from bot.ports import ApiKey
from storage.database import Database
from storage.people import IS_ACTIVE, select_keys, to_key
from storage.picture_tables import session
from storage.schema import api_key, utcnow

_MARK = "once:"
_MAX_HASH = 64 - len(_MARK)


class SqlKeyLinks:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_link(self, token_hash: str, prefix: str, expires_at: datetime) -> bool:
        row = {"token_hash": _marked(token_hash), "key": prefix, "expires_at": expires_at}
        return await self._database.run_write(lambda tx: _add(tx, row))

    async def take_link(self, token_hash: str) -> ApiKey | None:
        return await self._database.run_write(lambda tx: _take(tx, _marked(token_hash)))


def _marked(token_hash: str) -> str:
    return f"{_MARK}{token_hash[:_MAX_HASH]}"


def _add(tx: Connection, row: dict[str, object]) -> bool:
    if not tx.scalar(select(exists().where(api_key.c.prefix == row["key"], IS_ACTIVE))):
        return False
    tx.execute(insert(session), row)
    return True


def _take(tx: Connection, marked: str) -> ApiKey | None:
    s = session.c
    taken = tx.execute(delete(session).where(s.token_hash == marked).returning(s.key, s.expires_at)).one_or_none()
    if taken is None or taken.expires_at <= utcnow():
        return None
    row = tx.execute(select_keys().where(api_key.c.prefix == taken.key, IS_ACTIVE)).one_or_none()
    return None if row is None else to_key(row)
