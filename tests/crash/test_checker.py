"""The checker detects faults: each test spoils one thing of a sound round."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.crash import records
from tests.crash.checker import DATABASE, check
from tests.crash.harness import Round
from tests.crash.load import Kind, load

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300), pytest.mark.process]


class Remains:
    """The files of a round, to be spoiled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def execute(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.folder / "data" / DATABASE)) as database, database:
            for statement in statements:
                database.execute(statement.format(job=self.job))

    def posts(self) -> list[dict]:
        return records.read(self.folder / records.PLATFORM)

    @property
    def job(self) -> str:
        """A delivered image that was shown by an edit, in the chat with nonces."""
        keys = {planned.key for planned in load(self.folder) if planned.kind is Kind.GOOD}
        events = records.read(self.folder / records.EVENTS)
        ids = {line["job"] for line in events if line["event"] == "accepted" and line["key"] in keys}
        return next(post["job"] for post in self.posts() if post["job"] in ids and self._was_edited(post))

    def _was_edited(self, post: dict) -> bool:
        return post["call"] == "edit" and post["platform"] == "nonces"

    def result(self) -> dict:
        return next(post for post in self.posts() if post["job"] == self.job and post["call"] == "edit")

    def post(self, **changes: object) -> None:
        records.note(self.folder / records.PLATFORM, **(self.result() | changes))

    def note(self, **event: object) -> None:
        records.note(self.folder / records.EVENTS, **event)

    def faults(self) -> set[str]:
        return set(check(self.folder).faults)


@pytest.fixture(scope="module")
def sound(tmp_path_factory, crash_forks):
    folder = tmp_path_factory.mktemp("sound")
    one = Round(seed=7, kills=0, wave=14, forks=crash_forks)
    assert one.run(folder).is_sound, one.verdict
    return folder


@pytest.fixture
def remains(sound, tmp_path):
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    return Remains(tmp_path)


def test_a_sound_round_has_no_faults(remains):
    assert remains.faults() == set()


@pytest.mark.parametrize(
    ("fault", "statements"),
    [
        ("lost", ["DELETE FROM job WHERE id = '{job}'"]),
        ("unfinished", ["UPDATE job SET state = 'running' WHERE id = '{job}'"]),
        ("undelivered", ["UPDATE job SET state = 'rendered' WHERE id = '{job}'"]),
        ("undelivered", ["UPDATE outbox SET state = 'pending' WHERE job = '{job}'"]),
        ("outbox", ["DELETE FROM outbox WHERE job = '{job}' AND kind = 'result'"]),
        ("outbox", ["DELETE FROM outbox WHERE kind = 'webhook'"]),
        ("undelivered", ["UPDATE outbox SET state = 'pending' WHERE kind = 'webhook'"]),
        ("untold", ["UPDATE job SET state = 'failed' WHERE id IN (SELECT job FROM outbox WHERE kind = 'webhook')"]),
        ("wrong end", ["UPDATE job SET state = 'failed' WHERE id = '{job}'"]),
        ("ledger", ["DELETE FROM ledger WHERE job = '{job}' AND kind = 'reserve'"]),
        ("ledger", ["DELETE FROM ledger WHERE job = '{job}' AND kind = 'capture'"]),
        ("ledger", ["UPDATE ledger SET kind = 'refund' WHERE job = '{job}' AND kind = 'capture'"]),
        ("ledger", ["UPDATE ledger SET amount = amount + 1 WHERE job = '{job}' AND kind = 'capture'"]),
        ("ledger", ["UPDATE quota_day SET used = used + 1"]),
        ("ledger", ["UPDATE quota_day SET reserved = reserved + 1"]),
        (
            "ledger",
            [
                "DROP INDEX uq_ledger_settled",
                "INSERT INTO ledger (job, kind, person, day, amount, at) "
                "SELECT job, 'refund', person, day, amount, at FROM ledger WHERE job = '{job}' AND kind = 'capture'",
            ],
        ),
        ("counter", ["UPDATE person_load SET outstanding = outstanding + 1"]),
        ("counter", ["UPDATE person_share SET running = running + 1"]),
        ("counter", ["UPDATE space_share SET backlog = backlog + 1"]),
        ("key", ["UPDATE inbox SET jobs = '[]' WHERE jobs LIKE '%{job}%'"]),
        ("media", ["DELETE FROM media_owner"]),
    ],
)
def test_a_spoiled_database_is_detected(remains, fault, statements):
    remains.execute(*statements)

    assert fault in remains.faults()


def test_a_missing_image_is_detected(remains):
    media_id = remains.result()["content"]["media"][0]
    next((remains.folder / "data" / "media").rglob(f"{media_id}.*")).unlink()

    assert remains.faults() == {"media"}


def test_an_image_that_does_not_match_its_name_is_detected(remains):
    media_id = remains.result()["content"]["media"][0]
    next((remains.folder / "data" / "media").rglob(f"{media_id}.*")).write_bytes(b"torn")

    assert remains.faults() == {"media"}


def test_a_result_shown_in_two_messages_is_detected(remains):
    remains.post(call="send", ref="another")

    assert remains.faults() == {"duplicate"}


def test_a_superfluous_placeholder_is_detected(remains):
    remains.post(call="place", ref="another", content={"state": "waiting"})

    assert remains.faults() == {"stray"}


def test_progress_over_a_result_is_detected(remains):
    remains.post(call="progress", content={"state": "running", "step": 3})

    assert remains.faults() == {"wrong message"}


def test_another_result_than_the_stored_one_is_detected(remains):
    remains.post(content=remains.result()["content"] | {"media": ["0" * 64]})

    assert remains.faults() == {"wrong message"}


def test_a_message_for_a_job_without_delivery_is_detected(remains):
    remains.post(job=next(iter(_undelivered(remains))), ref="another", nonce="")

    assert "duplicate" in remains.faults()


def _undelivered(remains):
    keys = {planned.key for planned in load(remains.folder) if not planned.is_delivered}
    events = records.read(remains.folder / records.EVENTS)
    return [line["job"] for line in events if line["event"] == "accepted" and line["key"] in keys]


def test_a_job_without_any_message_is_detected(remains):
    kept = [post for post in remains.posts() if post["job"] != remains.job]
    job = remains.job
    (remains.folder / records.PLATFORM).unlink()
    for post in kept:
        records.note(remains.folder / records.PLATFORM, **post)

    assert remains.faults() == {"undelivered"}, job


def test_a_second_job_for_the_same_key_is_detected(remains):
    line = next(line for line in records.read(remains.folder / records.EVENTS) if line["event"] == "accepted")
    remains.note(**line | {"job": "aaaaaaaaaaaaaaaa"})

    assert remains.faults() == {"lost", "key"}


def test_a_request_that_never_got_an_answer_is_detected(remains):
    records.note(remains.folder / records.PLAN, **vars(load(remains.folder)[0]) | {"key": "test:forgotten"})

    assert remains.faults() == {"lost"}


def test_a_job_computed_again_after_its_end_is_detected(remains):
    remains.note(event="run", job=remains.job, generation=1, at=4e9)

    assert remains.faults() == {"rerun"}


def test_a_problem_found_by_the_storages_own_audit_is_detected(remains):
    remains.note(event="audit", when="start", generation=0, problems=["The books do not balance."])

    assert remains.faults() == {"audit"}


def test_a_confirmed_cancellation_that_did_not_happen_is_detected(remains):
    job = next(
        line["job"]
        for line in records.read(remains.folder / records.EVENTS)
        if line["event"] == "cancel" and line["outcome"] == "cancelled"
    )
    remains.execute(f"UPDATE job SET state = 'delivered' WHERE id = '{job}'")

    assert "wrong end" in remains.faults()
