"""Corrections and consent within the transactions that read or delete what they belong to."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, exists, insert, literal, select, update

from bot.ports import Correction
from storage.learning_tables import adapter_example, consent, correction, withdrawn_example
from storage.schema import UtcDateTime, utcnow

IS_ACTIVE: ColumnElement[bool] = consent.c.withdrawn_at.is_(None)
WITH_CONSENT = select(correction, consent.c.given_at, consent.c.withdrawn_at).outerjoin(
    consent, consent.c.correction == correction.c.id
)
_OF_JOBS = WITH_CONSENT.where(
    correction.c.person == bindparam("of_person"), correction.c.job.in_(bindparam("jobs", expanding=True))
)


def find_corrections(tx: Connection, person_id: str, job_ids: Collection[str]) -> dict[str, Correction]:
    """By job."""
    rows = tx.execute(_OF_JOBS, {"of_person": person_id, "jobs": list(job_ids)})
    return {row.job: to_correction(row) for row in rows}


def to_correction(row: Row[Any]) -> Correction:
    """A row of `WITH_CONSENT`."""
    plain = {name: row._mapping[name] for name in correction.c.keys()}  # noqa: SIM118 - of columns, not of a dict
    return Correction(
        **plain,
        consented_at=row.given_at if row.withdrawn_at is None else None,
        withdrawn_at=row.withdrawn_at,
    )


def delete_corrections(tx: Connection, condition: ColumnElement[bool]) -> None:
    """Delete rows of `correction`, and withdraw their consent."""
    ids = select(correction.c.id).where(condition)
    if not tx.scalar(select(exists(ids))):
        return
    withdraw_consents(tx, consent.c.correction.in_(ids))
    tx.execute(delete(correction).where(condition))
    drop_stale_consents(tx)


def withdraw_consents(tx: Connection, condition: ColumnElement[bool]) -> None:
    """Of rows of `consent`. Trainings and adapters forget them later: `withdrawn_example` lists them until then."""
    now = utcnow()
    active = select(consent.c.correction, literal(now, UtcDateTime())).where(condition, IS_ACTIVE)
    tx.execute(insert(withdrawn_example).from_select(["correction", "withdrawn_at"], active))
    tx.execute(update(consent).where(condition, IS_ACTIVE).values(withdrawn_at=now))


def drop_stale_consents(tx: Connection) -> None:
    """Delete withdrawn ones without a correction and without an adapter that learned from it."""
    has_correction = exists().where(correction.c.id == consent.c.correction)
    was_learned = exists().where(adapter_example.c.correction == consent.c.correction)
    tx.execute(delete(consent).where(~IS_ACTIVE, ~has_correction, ~was_learned))


def forget_corrections(tx: Connection, person_id: str) -> None:
    """Everything of a person who is forgotten."""
    withdraw_consents(tx, consent.c.person == person_id)
    for table in (correction, consent):
        tx.execute(delete(table).where(table.c.person == person_id))


@dataclass(frozen=True)
class ConsentState:
    """The ids of corrections whose consent holds, and of those that trainings and adapters have to forget."""

    active: frozenset[str] = frozenset()
    withdrawn: frozenset[str] = frozenset()


def read_consents(tx: Connection) -> ConsentState:
    active = select(consent.c.correction).where(IS_ACTIVE)
    withdrawn = select(withdrawn_example.c.correction)
    return ConsentState(frozenset(tx.scalars(active)), frozenset(tx.scalars(withdrawn)))


def withdraw_others(tx: Connection, before: ConsentState) -> None:
    """Only consent that held before holds; what trainings and adapters had learned without it is to be forgotten."""
    for one in read_consents(tx).active - before.active:
        withdraw_consents(tx, consent.c.correction == one)
    now, state = utcnow(), read_consents(tx)
    for one in (before.active | before.withdrawn) - state.active - state.withdrawn:
        tx.execute(insert(withdrawn_example), {"correction": one, "withdrawn_at": now})
