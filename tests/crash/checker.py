"""Checks the files of a round: the servers' log, the chat server's log and the database, read with plain sqlite3.

It shares only the names of states with the code under test, and never writes.
"""

import hashlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.crash import records
from tests.crash.load import ENDS, Kind, Planned, load
from tests.crash.platform import fate

OPEN = ("queued", "running")
DONE = ("rendered", "delivered")
REFUNDED = ("failed", "cancelled", "dead")
DATABASE = "easel.db"


@dataclass
class Verdict:
    """The result: sentences by kind of fault, and figures."""

    faults: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    accepted: int = 0
    delivered: int = 0
    strays: int = 0
    """Placeholders that will never become a result."""
    repeats: int = 0
    """Results sent again to a chat without nonces because their delivery was unconfirmed."""
    captured: int = 0
    """Microseconds charged."""
    states: Counter[str] = field(default_factory=Counter)

    @property
    def is_sound(self) -> bool:
        return not self.faults

    def __str__(self) -> str:
        return "\n".join(f"{kind}: {sentence}" for kind, list_ in self.faults.items() for sentence in list_)


def check(folder: Path, *, kills: int = 0, is_over: bool = True) -> Verdict:
    """`is_over`: all work had time to end; else only the invariants that must always hold are checked."""
    with closing(sqlite3.connect(f"file:{folder / 'data' / DATABASE}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        return _Check(folder, database, kills, is_over).run()


def has_database(folder: Path) -> bool:
    """A generation may end before the tables were created."""
    path = folder / "data" / DATABASE
    if not path.exists():
        return False
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'job'").fetchall())


@dataclass
class _Message:
    job: str
    platform: str
    made_by: str
    contents: list[dict[str, Any]] = field(default_factory=list)
    nonces: set[str] = field(default_factory=set)

    @property
    def results(self) -> list[dict[str, Any]]:
        return [content for content in self.contents if content["state"] not in ("waiting", "running")]


class _Check:
    def __init__(self, folder: Path, database: sqlite3.Connection, kills: int, is_over: bool) -> None:
        self._folder = folder
        self._database = database
        self._kills = kills
        self._is_over = is_over
        self._verdict = Verdict()
        self._plan: dict[str, Planned] = {planned.key: planned for planned in load(folder)}
        self._events = records.read(folder / records.EVENTS)
        self._posts = records.read(folder / records.PLATFORM)
        self._jobs = {row["id"]: row for row in self._rows("SELECT * FROM job")}

    def run(self) -> Verdict:
        self._check_file()
        self._check_accepted()
        self._check_states()
        self._check_ledger()
        self._check_counters()
        self._check_media()
        self._check_runs()
        self._check_messages()
        self._check_outbox()
        self._check_own_audits()
        self._verdict.states = Counter(row["state"] for row in self._jobs.values())
        self._verdict.delivered = self._verdict.states["delivered"]
        return self._verdict

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        return self._database.execute(query, values).fetchall()

    def _fault(self, kind: str, sentence: str) -> None:
        self._verdict.faults[kind].append(sentence)

    # ------------------------------------------------------------ accepted

    def _check_file(self) -> None:
        for row in self._rows("PRAGMA integrity_check"):
            if row[0] != "ok":
                self._fault("damage", row[0])
        for row in self._rows("PRAGMA foreign_key_check"):
            self._fault("damage", f"a row of {row[0]} points nowhere")

    def _check_accepted(self) -> None:
        """A job that was confirmed as accepted exists, and one key always means the same job."""
        answered: dict[str, set[str]] = defaultdict(set)
        for line in self._events:
            if line["event"] == "accepted":
                answered[line["key"]].add(line["job"])
        stored = {row["key"]: json.loads(row["jobs"]) for row in self._rows("SELECT key, jobs FROM inbox")}
        for key, ids in answered.items():
            for lost in ids - self._jobs.keys():
                self._fault("lost", f"{key} was accepted as {lost}, which does not exist")
            if len(ids) > 1 or ids != set(stored.get(key, ())):
                self._fault("key", f"{key} was answered with {sorted(ids)} and is stored as {stored.get(key)}")
        for key in self._plan.keys() - answered.keys():
            if self._is_over:
                self._fault("lost", f"{key} was never answered")
        keyed = Counter(job for jobs in stored.values() for job in jobs)
        for job_id in self._jobs:
            if keyed[job_id] != 1:
                self._fault("key", f"job {job_id} belongs to {keyed[job_id]} requests")
        self._verdict.accepted = len(answered)

    def _kinds(self) -> Iterator[tuple[sqlite3.Row, Planned]]:
        for row in self._rows("SELECT key, jobs FROM inbox"):
            for job_id in json.loads(row["jobs"]):
                if job_id in self._jobs and row["key"] in self._plan:
                    yield self._jobs[job_id], self._plan[row["key"]]

    def _check_states(self) -> None:
        confirmed = {line["job"]: line["outcome"] for line in self._events if line["event"] == "cancel"}
        for job, planned in self._kinds():
            state, name = job["state"], f"job {job['id']} ({planned.kind})"
            if state in OPEN:
                if self._is_over:
                    self._fault("unfinished", f"{name} is still {state}")
                continue
            allowed = {str(end) for end in ENDS[planned.kind]}
            outcome = confirmed.get(job["id"])
            if planned.kind in (Kind.CANCEL_QUEUED, Kind.CANCEL_RUNNING) and outcome:
                allowed = set(DONE) if outcome == "refused" else {"cancelled"}
            if state not in allowed:
                self._fault("wrong end", f"{name} is {state}, its cancel was answered with {outcome}: {job['error']}")
            self._check_delivered(job, planned, name)

    def _check_delivered(self, job: sqlite3.Row, planned: Planned, name: str) -> None:
        if not self._is_over or job["state"] not in DONE:
            return
        is_reached = not planned.is_delivered or fate(job["id"]) != "blocked"
        if (job["state"] == "delivered") != is_reached:
            self._fault("undelivered", f"{name} is {job['state']}")

    # ------------------------------------------------------------ money

    def _check_ledger(self) -> None:
        entries = defaultdict(list)
        for row in self._rows("SELECT * FROM ledger"):
            entries[row["job"]].append(row)
        for job_id, job in self._jobs.items():
            found = Counter(entry["kind"] for entry in entries[job_id])
            state = job["state"]
            wanted = Counter(["reserve", *(["capture"] * (state in DONE)), *(["refund"] * (state in REFUNDED))])
            if found != wanted:
                self._fault("ledger", f"job {job_id} is {state} and has {dict(found)}")
            for entry in entries[job_id]:
                if (entry["amount"], entry["person"]) != (job["cost"], job["owner"]):
                    self._fault("ledger", f"the {entry['kind']} of job {job_id} is not its cost or its owner's")
            if len({entry["day"] for entry in entries[job_id]}) > 1:
                self._fault("ledger", f"job {job_id} was settled on another day")
        self._check_quota([entry for of_job in entries.values() for entry in of_job])

    def _check_quota(self, entries: Sequence[sqlite3.Row]) -> None:
        used: Counter[tuple[str, str]] = Counter()
        reserved: Counter[tuple[str, str]] = Counter()
        for entry in entries:
            day = (entry["person"], entry["day"])
            used[day] += entry["amount"] * (entry["kind"] == "capture")
            reserved[day] += entry["amount"] * (1 if entry["kind"] == "reserve" else -1)
        stored = {(row["person"], row["day"]): row for row in self._rows("SELECT * FROM quota_day")}
        for day in stored.keys() | used.keys():
            says = (stored[day]["used"], stored[day]["reserved"]) if day in stored else None
            if says != (used[day], reserved[day]):
                self._fault(
                    "ledger", f"{day} has {says} as (used, reserved); its entries say {used[day], reserved[day]}"
                )
            if self._is_over and reserved[day]:
                self._fault("ledger", f"{day} still has {reserved[day]} reserved")
        self._verdict.captured = used.total()

    def _check_counters(self) -> None:
        queued, running = (
            [job for job in self._jobs.values() if job["state"] == state] for state in ("queued", "running")
        )
        for table, key in (
            ("space_share", ("space",)),
            ("person_share", ("space", "owner")),
            ("person_load", ("owner",)),
        ):
            waits = Counter(tuple(job[name] for name in key) for job in queued)
            runs = Counter(tuple(job[name] for name in key) for job in running)
            waits_column = "outstanding - running" if table == "person_load" else "backlog"
            columns = ", ".join(name.replace("owner", "person") for name in key)
            for *names, says_waits, says_runs in self._rows(f"SELECT {columns}, {waits_column}, running FROM {table}"):
                name = tuple(names)
                if (says_waits, says_runs) != (waits.pop(name, 0), runs.pop(name, 0)):
                    self._fault("counter", f"{table} of {name} says {says_waits} waiting and {says_runs} running")
            for name in waits.keys() | runs.keys():
                self._fault("counter", f"{table} has no row of {name}")

    # ------------------------------------------------------------ results

    def _check_media(self) -> None:
        for job_id, job in self._jobs.items():
            for picture in json.loads(job["result"] or "{}").get("media", ()):
                media_id = picture["id"]
                files = list((self._folder / "data" / "media" / media_id[:2] / media_id[2:4]).glob(f"{media_id}.*"))
                hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
                if hashes != [media_id]:
                    self._fault("media", f"a picture of job {job_id} has {len(files)} files: {hashes}")
                owned = "SELECT 1 FROM media_owner WHERE media = ? AND owner = ?"
                if not self._rows(owned, media_id, job["owner"]):
                    self._fault("media", f"a picture of job {job_id} does not belong to its owner")
            if job["state"] in DONE and not job["result"]:
                self._fault("media", f"job {job_id} is {job['state']} without a result")

    def _check_runs(self) -> None:
        """No job runs after it has its result."""
        for line in self._events:
            job = self._jobs.get(line.get("job", ""))
            if line["event"] == "run" and job is not None and job["finished_at"]:
                finished = datetime.fromisoformat(job["finished_at"]).replace(tzinfo=UTC).timestamp()
                if line["at"] > finished:
                    self._fault("rerun", f"job {job['id']} ran {line['at'] - finished:.3f} s after its end")

    # ------------------------------------------------------------ messages

    def _check_messages(self) -> None:
        messages: dict[str, _Message] = {}
        for post in self._posts:
            message = messages.setdefault(post["ref"], _Message(post["job"], post["platform"], post["call"]))
            message.contents.append(post["content"])
            message.nonces.update([post["nonce"]] if post["nonce"] else [])
        by_job = defaultdict(list)
        for message in messages.values():
            by_job[message.job].append(message)
        for job, planned in self._kinds():
            self._check_messages_of(job, planned, by_job.pop(job["id"], []))
        for job_id in by_job:
            self._fault("lost", f"a message shows job {job_id}, which does not exist")
        unsure = self._kills + sum(not post["answered"] for post in self._posts)
        if self._verdict.strays > unsure:
            self._fault("stray", f"{self._verdict.strays} orphaned placeholders after {unsure} unconfirmed calls")
        if self._verdict.repeats > unsure:
            self._fault("duplicate", f"{self._verdict.repeats} repeated results after {unsure} unconfirmed calls")

    def _check_messages_of(self, job: sqlite3.Row, planned: Planned, messages: list[_Message]) -> None:
        name = f"job {job['id']} ({planned.kind}, {planned.platform})"
        shown = [message for message in messages if message.results]
        if not planned.is_delivered and messages:
            self._fault("duplicate", f"{name} wants no messages and has {len(messages)}")
        is_reached = planned.is_delivered and fate(job["id"]) != "blocked"
        if self._is_over and is_reached and not shown:
            self._fault("undelivered", f"{name} is {job['state']} and has no message")
        if job["state"] in OPEN and shown:
            self._fault("wrong message", f"{name} is {job['state']} and its result was shown")
        self._check_number(name, planned, messages, shown)
        for message in shown:
            self._check_content(name, job, message)

    def _check_number(self, name: str, planned: Planned, messages: list[_Message], shown: list[_Message]) -> None:
        """One visible result; more only in a chat without nonces, where a message had to be sent again."""
        has_nonces = planned.platform == "nonces"
        if len(shown) > 1:
            if has_nonces or any(message.made_by != "send" for message in shown):
                self._fault("duplicate", f"{name} has {len(shown)} results")
            else:
                self._verdict.repeats += len(shown) - 1
        placed = [message for message in messages if message.made_by == "place"]
        self._verdict.strays += max(0, len(placed) - 1)
        if has_nonces and len(placed) > 1:
            self._fault("stray", f"{name} has {len(placed)} placeholders though its chat knows nonces")
        nonces = {nonce for message in messages for nonce in message.nonces}
        if len(nonces) > 2 or any(len(nonce) > 25 for nonce in nonces):
            self._fault("duplicate", f"{name} was sent with the nonces {sorted(nonces)}")

    def _check_content(self, name: str, job: sqlite3.Row, message: _Message) -> None:
        """The final content is the result, always the same, and equal to the database."""
        first = message.results[0]
        if message.contents[-1]["state"] in ("waiting", "running"):
            self._fault("wrong message", f"{name}: its result was overwritten by {message.contents[-1]}")
        if any({**other, "state": ""} != {**first, "state": ""} for other in message.results):
            self._fault("wrong message", f"{name}: its results differ: {message.results}")
        result = json.loads(job["result"] or "{}")
        error = json.loads(job["error"] or "{}")
        stored = ([picture["id"] for picture in result.get("media", ())], result.get("text"), error.get("code"))
        if (first["media"], first["text"], first["error"]) != stored:
            self._fault("wrong message", f"{name}: shown was {first}, stored is {stored}")

    def _check_outbox(self) -> None:
        rows: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for row in self._rows("SELECT job, kind, state FROM outbox"):
            rows[row["job"]][row["kind"]] = row["state"]
        told = {(line["job"], line["state"]) for line in self._events if line["event"] == "told"}
        for job, planned in self._kinds():
            found, is_ended = rows[job["id"]], job["state"] not in OPEN
            ended = "result" if planned.is_delivered else "webhook"
            wanted = {*(["placeholder"] if planned.is_delivered else []), *([ended] if is_ended else [])}
            if found.keys() != wanted:
                self._fault("outbox", f"job {job['id']} is {job['state']} and owes {sorted(found)}")
            if self._is_over and "pending" in found.values():
                self._fault("undelivered", f"job {job['id']} is {job['state']}, its messages are {found}")
            if found.get("webhook") == "sent" and (job["id"], job["state"]) not in told:
                self._fault("untold", f"job {job['id']} is {job['state']}, and its webhook was not called with that")

    def _check_own_audits(self) -> None:
        for line in self._events:
            if line["event"] == "audit":
                for problem in line["problems"]:
                    where = f"at the {line['when']} of generation {line['generation']}"
                    self._fault("audit", f"storage reports {where}: {problem}")
