"""Sessions of the page, which stand for API keys: `bot.ports.SessionStore`."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, exists, insert, select, update

from bot.ports import ApiKey
from storage.database import Database
from storage.people import IS_ACTIVE, select_keys, to_key
from storage.picture_tables import session
from storage.schema import api_key, utcnow


class SqlSessions:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_session(self, token_hash: str, prefix: str, expires_at: datetime, *, keep: int) -> list[str] | None:
        row = {"token_hash": token_hash, "key": prefix, "expires_at": expires_at}
        return await self._database.run_write(lambda tx: _add(tx, row, keep))

    async def find_session(self, token_hash: str, *, renewed_until: datetime, precision: timedelta) -> ApiKey | None:
        s = session.c
        query = select_keys().add_columns(s.expires_at).join(session, s.key == api_key.c.prefix)
        query = query.where(s.token_hash == token_hash, s.expires_at > utcnow(), IS_ACTIVE)
        row = await self._database.run_read(lambda tx: tx.execute(query).one_or_none())
        if row is None:
            return None
        if row.expires_at < renewed_until - precision:
            self._database.submit(lambda tx: _renew(tx, token_hash, row.prefix, renewed_until))
        return to_key(row)

    async def end_session(self, token_hash: str) -> None:
        ended = delete(session).where(session.c.token_hash == token_hash)
        await self._database.run_write(lambda tx: tx.execute(ended).rowcount)

    async def end_sessions_of(self, person_id: str) -> list[str]:
        of_person = session.c.key.in_(select(api_key.c.prefix).where(api_key.c.person == person_id))
        ended = delete(session).where(of_person).returning(session.c.token_hash)
        return await self._database.run_write(lambda tx: list(tx.scalars(ended)))


def _renew(tx: Connection, token_hash: str, prefix: str, expires_at: datetime) -> None:
    tx.execute(update(session).where(session.c.token_hash == token_hash).values(expires_at=expires_at))
    tx.execute(update(api_key).where(api_key.c.prefix == prefix).values(last_used_at=utcnow()))


def _add(tx: Connection, row: dict[str, object], keep: int) -> list[str] | None:
    """Expired sessions are deleted here: nothing else reads them."""
    s = session.c
    if not tx.scalar(select(exists().where(api_key.c.prefix == row["key"], IS_ACTIVE))):
        return None
    tx.execute(insert(session), row)
    latest = select(s.token_hash).where(s.key == row["key"]).order_by(s.expires_at.desc()).limit(keep)
    is_surplus = (s.key == row["key"]) & s.token_hash.not_in(latest)
    return list(tx.scalars(delete(session).where(is_surplus | (s.expires_at <= utcnow())).returning(s.token_hash)))
