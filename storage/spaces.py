"""The policies that admins set for their spaces."""

from sqlalchemy import Connection, insert, select, update

from bot.ports import SpacePolicy
from storage.database import Database
from storage.schema import space, utcnow


class SqlSpacePolicyStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get_policy(self, platform: str, space_id: str) -> SpacePolicy:
        found = select(space.c.policy, space.c.edit_others).where(space.c.id == f"{platform}:{space_id}")
        row = await self._database.run_read(lambda tx: tx.execute(found).one_or_none())
        return SpacePolicy() if row is None else SpacePolicy(policy=row.policy, edit_others=row.edit_others)

    async def set_policy(self, platform: str, space_id: str, chosen: SpacePolicy) -> None:
        await self._database.run_write(lambda tx: _set(tx, platform, f"{platform}:{space_id}", chosen))


def _set(tx: Connection, platform: str, key: str, chosen: SpacePolicy) -> None:
    values = {"policy": chosen.policy, "edit_others": chosen.edit_others}
    if not tx.execute(update(space).where(space.c.id == key).values(values)).rowcount:
        tx.execute(insert(space), {"id": key, "platform": platform, "created_at": utcnow(), **values})
