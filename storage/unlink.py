"""Accounts leave their person: each becomes a new one, without history, and with the usage that counted before."""

import secrets
from collections.abc import Iterable

from sqlalchemy import Connection, insert, update

from bot.ports import LinkedAccount
from storage.carried_usage import carry_usage, read_usage
from storage.link_tables import link_event
from storage.mapping import JobRow
from storage.schema import account, person, person_load, utcnow


def unlink_accounts(tx: Connection, row: JobRow, gone: Iterable[LinkedAccount], default_s: float | None) -> None:
    """`row` is the person, who keeps everything.

    A block, and a quota of their own that is smaller than `default_s`, hold for the new persons too: nobody escapes
    them by unlinking.
    """
    now = utcnow()
    usage = read_usage(tx, row.id, now)
    is_smaller = row.daily_s is not None and (default_s is None or row.daily_s < default_s)
    for one in gone:
        new_id = secrets.token_hex(8)
        new = {"id": new_id, "name": one.name, "is_local": False, "is_admin": False, "created_at": now}
        tx.execute(
            insert(person), {**new, "daily_s": row.daily_s if is_smaller else None, "blocked_at": row.blocked_at}
        )
        tx.execute(insert(person_load), {"person": new_id, "running": 0, "outstanding": 0})
        is_account = (account.c.platform == one.platform, account.c.account_id == one.account_id)
        tx.execute(update(account).where(*is_account).values(person=new_id))
        carry_usage(tx, new_id, usage, now)
        event = {"person": row.id, "kind": "unlink", "details": {"account": one.platform}, "at": now}
        tx.execute(insert(link_event), event)
