"""Statements and tables are portable: compiled for PostgreSQL, no boolean is used as a number. No server is needed."""

import importlib
import io
import re
from types import SimpleNamespace
from typing import Any

import alembic.context
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Boolean, Engine, event
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.elements import TextClause

from bot.jobs import JobError, JobState
from bot.ports import HistoryFilter
from composition.settings import ROOT
from storage.schema import job, metadata
from tests.storage.factories import accept, claim, make_media, make_picture, render, requeue

MIGRATIONS = ROOT / "storage" / "migrations" / "versions"
POSTGRESQL = postgresql.dialect()
COLUMNS = [column for table in metadata.tables.values() for column in table.c]
BOOLEAN = "|".join(sorted({column.name for column in COLUMNS if isinstance(column.type, Boolean)}))
NUMBER_FOR_BOOLEAN = re.compile(
    rf"\bIS (NOT )?[01]\b|\b({BOOLEAN})\)? *(=|!=|<>|<|>|\+|-|\*) *[01]\b|\bsum\((\w+\.)?({BOOLEAN})\)", re.IGNORECASE
)


def problems_in(sql: str) -> list[str]:
    return [found.group() for found in NUMBER_FOR_BOOLEAN.finditer(sql)]


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)
def test_tables_and_indexes_compile_without_booleans_as_numbers(table):
    statements: list[Any] = [CreateTable(table), *(CreateIndex(index) for index in table.indexes)]

    for statement in statements:
        assert problems_in(str(statement.compile(dialect=POSTGRESQL))) == []


def test_the_partial_index_of_exclusive_jobs_compares_a_boolean():
    (index,) = (one for one in job.indexes if one.name == "ix_job_alone")

    assert "alone IS true" in str(CreateIndex(index).compile(dialect=POSTGRESQL))


def test_migrations_compile_without_booleans_as_numbers(monkeypatch):
    without_search = SimpleNamespace(create_search=lambda _tx: None)
    config = SimpleNamespace(attributes={"dialect": without_search})
    monkeypatch.setattr(alembic.context, "config", config, raising=False)

    sql = migration_sql()

    assert "CREATE INDEX ix_job_alone ON job (place) WHERE state = 'queued' AND alone IS true" in sql
    assert problems_in(sql) == []


def migration_sql() -> str:
    written = io.StringIO()
    context = MigrationContext.configure(dialect=POSTGRESQL, opts={"as_sql": True, "output_buffer": written})
    with Operations.context(context):
        for path in sorted(MIGRATIONS.glob("0*.py")):
            importlib.import_module(f"storage.migrations.versions.{path.stem}").upgrade()
    return written.getvalue()


# ---------------------------------------------------------------- statements


@pytest.fixture
def executed():
    """Every statement that is executed, with the values it is given."""
    seen: list[tuple[ClauseElement, list[dict]]] = []

    def record(_connection, statement, multi, single, _options):
        if not isinstance(statement, TextClause):
            seen.append((statement, list(multi) or [single]))

    event.listen(Engine, "before_execute", record)
    yield seen
    event.remove(Engine, "before_execute", record)


async def use_everything(storage, ann, ben):
    """Execute the statements of every part of the storage."""
    wrong = JobError(code="engine_failed", message="It went wrong.")
    photo = await storage.media.add_upload(ann.id, make_media(), width=8, height=8, parameters=None)
    await storage.media.share(photo.id, ben.id)
    jobs = await accept(storage, ann, 4, wants_delivery=True)
    await storage.jobs.find_request("unknown")
    await storage.jobs.queue_view(jobs[0].id)
    await requeue(storage, await claim(storage), exclusive=True)
    await claim(storage, is_idle=True)
    running = await claim(storage, only=frozenset(one.id for one in jobs))
    await storage.jobs.renew_leases({running.id: running.attempt}, 60.0)
    await storage.jobs.request_cancel(running.id, ann.id)
    await storage.jobs.end_job(running.id, running.attempt, JobState.CANCELLED, None)
    await storage.jobs.fail_queued(jobs[3].id, wrong)
    await storage.jobs.orphaned(["owl"], 9)
    for delivery in await storage.outbox.due_deliveries(excluded_jobs={jobs[1].id}):
        await storage.outbox.schedule_retry(delivery, delay_s=0.0, reason="no answer")
        await storage.outbox.mark_sent(delivery, f"7:{delivery.id}")
    await storage.outbox.watched()
    await storage.outbox.next_due_s()
    await storage.jobs.requeue_expired(max_interruptions=9)
    await storage.jobs.requeue_interrupted(max_interruptions=9)
    again = await claim(storage, is_idle=True)
    await render(storage, again, media=(make_picture(photo.id), make_picture(photo.id)))
    await storage.jobs.has_earlier_result(again.id)
    await storage.jobs.count_by_state()
    await storage.jobs.next_due_s()
    await use_pictures(storage, ann, again.id, photo.id)
    await storage.history.list_jobs(ann.id, state=JobState.QUEUED, q="fox", before=jobs[3].id, limit=2)
    await storage.ledger.find_imbalances()
    await storage.media.sweep(unused_s=0.0, keep_days=1, max_gb=0.000001)
    await storage.people.set_setting(ann.id, "steps", 7)
    key = await storage.people.add_key("abcd", "0" * 64, ann, is_admin=True)
    await storage.people.find_key(key.prefix)
    await storage.people.revoke_key(key.prefix)
    await storage.inbox.save_event("discord", "1", {})
    await storage.inbox.mark_done("discord", "1")
    await storage.inbox.prune(0)
    await storage.measurements.record_capabilities("fox", {})
    await storage.privacy.erase_job(jobs[1].id, ann.id)
    await storage.privacy.forget_person(ben.id)


async def use_pictures(storage, ann, job_id, media_id):
    await storage.media.save_sheet(job_id, [media_id], make_media(b"sheet"), width=8, height=8)
    await storage.media.read_sheet(job_id)
    await storage.outbox.remember_message(job_id, "discord", "7:9", picture=1)
    await storage.outbox.find_picture("discord", "7:9")
    await storage.pictures.set_favourite(ann.id, job_id, 1, is_favourite=True)
    await storage.history.count_jobs(ann.id, state=None, q="", only=HistoryFilter(favourite=True, model="fox"))
    await storage.pictures.toggle_favourite(ann.id, job_id, 1)
    await storage.batches.list_due()
    await storage.batches.save_sheets("unknown", {}, {}, [])
    await storage.privacy.erase_picture(job_id, ann.id, 1)


def mistyped(statement, values) -> list[str]:
    """Bound values that are booleans where a number is due, or numbers where a boolean is."""
    compiled = statement.compile(dialect=POSTGRESQL, column_keys=list(values))
    found = []
    for name, bind in compiled.binds.items():
        value = values.get(name, bind.effective_value)
        wants_boolean = isinstance(bind.type, Boolean)
        is_list = isinstance(value, list | dict)  # of an expanding parameter, or JSON
        is_mistyped = value is not None and not is_list and isinstance(value, bool) != wants_boolean
        if is_mistyped or (wants_boolean and re.search(rf"[-+*/] %\({name}\)s", str(compiled))):
            found.append(f"{name}={value!r} for {bind.type!r} in {compiled}")
    return found


async def test_no_statement_uses_a_boolean_as_a_number(storage, executed, ann, ben):
    await use_everything(storage, ann, ben)

    assert len({str(statement) for statement, _ in executed}) > 50
    for statement, rows in executed:
        for values in rows:
            sql = str(statement.compile(dialect=POSTGRESQL, column_keys=list(values)))
            assert problems_in(sql) == [], sql
            assert mistyped(statement, values) == []


def test_the_check_sees_what_it_is_for():
    assert problems_in("WHERE alone IS 1")
    assert problems_in("WHERE job.alone = 1")
    assert problems_in("SELECT sum(job.erased)")
    assert problems_in("WHERE alone IS true AND erased IS NOT false") == []
