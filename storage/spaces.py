"""Spaces: the policies that their admins set, and what belongs to one whose id changes."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from sqlalchemy import ColumnElement, Connection, Table, delete, insert, select, update

from bot.jobs import Origin
from bot.ports import SpacePolicy
from storage.database import Database
from storage.schema import IS_ENDED, account, job, person_share, space, space_share, utcnow

MOVED_PER_TRANSACTION = 500
"""Ended jobs."""


class SqlSpacePolicyStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get_policy(self, platform: str, space_id: str) -> SpacePolicy:
        found = select(space.c.policy, space.c.edit_others).where(space.c.id == f"{platform}:{space_id}")
        row = await self._database.run_read(lambda tx: tx.execute(found).one_or_none())
        return SpacePolicy() if row is None else SpacePolicy(policy=row.policy, edit_others=row.edit_others)

    async def set_policy(self, platform: str, space_id: str, chosen: SpacePolicy) -> None:
        await self._database.run_write(lambda tx: _set(tx, platform, f"{platform}:{space_id}", chosen))

    async def move_space(self, platform: str, old_id: str, new_id: str) -> None:
        moved = _SpaceMove(platform, old_id, new_id)
        await self._database.run_write(moved.move_open)
        while await self._database.run_write(moved.move_ended):
            pass


def _set(tx: Connection, platform: str, key: str, chosen: SpacePolicy) -> None:
    values = {"policy": chosen.policy, "edit_others": chosen.edit_others}
    if not tx.execute(update(space).where(space.c.id == key).values(values)).rowcount:
        tx.execute(insert(space), {"id": key, "platform": platform, "created_at": utcnow(), **values})


class _SpaceMove:
    """The old space keeps its policy: buttons under its messages still carry its id."""

    def __init__(self, platform: str, old_id: str, new_id: str) -> None:
        self._platform, self._old_id, self._new_id = platform, old_id, new_id
        self._old, self._new = f"{platform}:{old_id}", f"{platform}:{new_id}"

    def move_open(self, tx: Connection) -> None:
        """The policy, the shares with the open jobs that they count, and the account of anonymous admins."""
        if self._old == self._new:
            return
        self._move_account(tx)
        if not self._copy_policy(tx):
            return
        self._move_jobs(tx, ~IS_ENDED)
        self._merge_lanes(tx, space_share)
        self._merge_lanes(tx, person_share)

    def move_ended(self, tx: Connection) -> int:
        """Some of the ended jobs; returns how many."""
        chosen = select(job.c.seq).where(job.c.space == self._old, IS_ENDED).limit(MOVED_PER_TRANSACTION)
        return self._move_jobs(tx, job.c.seq.in_(list(tx.scalars(chosen)))) if self._old != self._new else 0

    def _copy_policy(self, tx: Connection) -> bool:
        """What the new space has not chosen itself, once: it then counts as made when the old one was.

        False: there is no old space.
        """
        old = tx.execute(select(space).where(space.c.id == self._old)).one_or_none()
        new = tx.execute(select(space).where(space.c.id == self._new)).one_or_none()
        if old is None:
            return False
        if new is not None and new.created_at == old.created_at:
            return True
        chosen = SpacePolicy(policy=old.policy, edit_others=old.edit_others)
        if new is not None and new.policy is not None:
            chosen = replace(chosen, policy=new.policy)
        if new is not None and new.edit_others is not None:
            chosen = replace(chosen, edit_others=new.edit_others)
        _set(tx, self._platform, self._new, chosen)
        tx.execute(update(space).where(space.c.id == self._new).values(created_at=old.created_at))
        return True

    def _move_jobs(self, tx: Connection, which: ColumnElement[bool]) -> int:
        rows = tx.execute(select(job.c.seq, job.c.origin).where(job.c.space == self._old, which)).all()
        for row in rows:
            values = {"space": self._new, "origin": self._moved(row.origin)}
            tx.execute(update(job).where(job.c.seq == row.seq).values(values))
        return len(rows)

    def _moved(self, stored: dict[str, object]) -> dict[str, object]:
        """Without the messages and the topic of the old chat, whose numbers mean others in the new one."""
        if stored["space_id"] != self._old_id:  # of an erased job
            return stored
        origin = Origin(**stored)  # type: ignore[arg-type]
        moved = replace(
            origin,
            space_id=self._new_id,
            chat_id=self._new_id if origin.chat_id == self._old_id else origin.chat_id,
            account_id=self._new_id if origin.account_id == self._old_id else origin.account_id,
            thread_id="",
            message_id="",
            reply_to_id="",
        )
        return asdict(moved)

    def _merge_lanes(self, tx: Connection, lanes: Table) -> None:
        others = [column for column in lanes.primary_key if column.name != "space"]
        for lane in tx.execute(select(lanes).where(lanes.c.space == self._old)).mappings().all():
            is_same: Sequence[ColumnElement[bool]] = [column == lane[column.name] for column in others]
            where = (lanes.c.space == self._new, *is_same)
            known = tx.execute(select(lanes).where(*where)).mappings().one_or_none()
            if known is None:
                tx.execute(insert(lanes), {**lane, "space": self._new})
                continue
            merged = {name: known[name] + lane[name] for name in ("backlog", "running")}
            tx.execute(update(lanes).where(*where).values(merged | {"vtime": max(known["vtime"], lane["vtime"])}))
        tx.execute(delete(lanes).where(lanes.c.space == self._old))

    def _move_account(self, tx: Connection) -> None:
        a = account.c
        is_taken = select(a.person).where(a.platform == self._platform, a.account_id == self._new_id)
        if tx.execute(is_taken).first() is None:
            old = update(account).where(a.platform == self._platform, a.account_id == self._old_id)
            tx.execute(old.values(account_id=self._new_id))
