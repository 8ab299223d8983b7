"""The cost of a claim does not depend on the number of queued jobs."""

import statistics
import time

import pytest
from sqlalchemy import Engine, event, insert

from bot.jobs import JobState
from bot.ports import Offer, Person
from storage.claim import ClaimJob
from storage.dialect import database_url
from storage.mapping import to_row
from storage.migration import migrate
from storage.schema import job, person, person_load, person_share, space, space_share, utcnow
from storage.sqlite import SqliteDialect
from tests.storage.factories import make_new_job

MANY = 10_000
MODELS = ("fox", "owl", "elk", "bat")


@pytest.fixture
def engine(tmp_path, fresh_database):
    dialect = SqliteDialect(database_url("", tmp_path), busy_timeout_ms=200, readers=1)
    engine = dialect.open_migrator()
    migrate(engine, dialect, tmp_path)
    yield engine
    engine.dispose()


def fill(engine: Engine, count: int, persons: int, spaces: int) -> None:
    """Insert evenly distributed queued jobs in bulk; only later claims are measured."""
    now = utcnow()
    people = [f"p{number}" for number in range(persons)]
    place_of = {name: f"s{number % spaces}" for number, name in enumerate(people)}
    alike = {model: to_row(make_new_job(Person(id="", name=""), model=model), 0, 0, now) for model in MODELS[:2]}
    jobs = []
    for seq in range(1, count + 1):
        owner = people[seq % persons]
        own = {"seq": seq, "place": seq, "changed": seq, "id": f"job{seq}", "owner": owner, "space": place_of[owner]}
        jobs.append({**alike[MODELS[seq % 2]], **own})
    each = count // persons
    shares = [
        {"space": place, "person": name, "vtime": number / 7} for number, (name, place) in enumerate(place_of.items())
    ]
    with engine.connect() as tx, tx.begin():
        tx.execute(
            insert(person),
            [{"id": name, "name": "", "is_local": False, "is_admin": False, "created_at": now} for name in people],
        )
        places = sorted(set(place_of.values()))
        tx.execute(insert(space), [{"id": place, "platform": "discord", "created_at": now} for place in places])
        tx.execute(insert(job), jobs)
        waiting = {"backlog": each, "running": 0}
        tx.execute(insert(person_share), [{**share, **waiting} for share in shares])
        tx.execute(
            insert(space_share),
            [{"space": place, "vtime": 0.0, "backlog": count // spaces, "running": 0} for place in places],
        )
        tx.execute(insert(person_load), [{"person": name, "running": 0, "outstanding": each} for name in people])


def wish(
    models: tuple[str, ...] = MODELS,
    warm: tuple[str, ...] = ("owl",),
    max_running: int = 10**6,
    spare: tuple[str, ...] = (),
) -> ClaimJob:
    offer = Offer(device="cpu", models=frozenset(models), loaded=frozenset(warm), spare=frozenset(spare))
    return ClaimJob(offer, max_running, lease_s=60.0, swap_wait_s=60.0, only=None)


def claim_ms(engine: Engine, claim: ClaimJob) -> float:
    """The median time of ten claims, without the commit, which depends on the disk."""
    times = []
    with engine.connect() as tx, tx.begin():
        claim(tx)
        for _ in range(10):
            started = time.perf_counter()
            claim(tx)
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


@pytest.mark.parametrize(("persons", "spaces"), [(1, 1), (1000, 1), (1000, 1000)])
def test_a_claim_costs_the_same_however_long_the_queue(engine, tmp_path, persons, spaces):
    fill(engine, MANY, persons, spaces)
    few = SqliteDialect(database_url(f"sqlite:///{tmp_path}/few.db", tmp_path), busy_timeout_ms=200, readers=1)
    small = few.open_migrator()
    migrate(small, few, tmp_path)
    fill(small, 20, 1, 1)
    short, long = claim_ms(small, wish()), claim_ms(engine, wish())
    small.dispose()

    assert long < 5 * short + 2


def test_a_claim_without_runnable_jobs_is_also_quick(engine):
    fill(engine, MANY, 1000, 10)

    assert claim_ms(engine, wish(models=("elk", "bat"))) < 250
    assert claim_ms(engine, wish(max_running=0)) < 250
    assert claim_ms(engine, wish(max_running=0, spare=("owl",))) < 250


def test_every_step_of_a_claim_goes_by_an_index_and_sorts_nothing(engine):
    fill(engine, 100, 10, 2)
    statements = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_connection, _cursor, statement, parameters, _context, _many):
        statements.append((statement, parameters))

    with engine.connect() as tx, tx.begin():
        claimed = wish()(tx)
        asked = [pair for pair in statements if pair[0].lstrip().startswith(("SELECT", "UPDATE"))]
        plans = [row[3] for one in asked for row in tx.exec_driver_sql("EXPLAIN QUERY PLAN " + one[0], one[1])]

    assert claimed is not None
    assert claimed.state == JobState.RUNNING
    assert len(plans) > 10
    assert [step for step in plans if "TEMP B-TREE" in step] == []
    scans = {step for step in plans if step.startswith("SCAN")}
    assert scans <= {"SCAN space_share USING INDEX ix_space_share_active", "SCAN job USING INDEX ix_job_alone"}
    assert any("ix_job_line (space=? AND owner=? AND model=?)" in step for step in plans)
