"""SIGTERM: running jobs finish within the deadline or are requeued, and no process is left behind."""

import json
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.crash.processes import ServerProcess
from tests.fork_server.client import Forks

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

TAKES_1_S = "a fox steps=10 sleep=0.1"
TAKES_60_S = "a fox steps=600 sleep=0.1"


class Server:
    """One running server and its output."""

    def __init__(self, folder: Path, forks: Forks, arguments: list[str], **settings: str) -> None:
        self._data_dir = folder / "data"
        self.output = folder / "output.txt"
        environ = {"EASEL_DATA_DIR": str(self._data_dir), "EASEL_WEB__PORT": "0"} | settings
        self.process = ServerProcess(arguments, self.output, environ, forks)
        self.url = ""

    def wait_until_ready(self) -> None:
        until(self._published)
        self.url = self._published().rstrip("/") + "/api/v1"

    def _published(self) -> str:
        """The address in the lock file, once it is this server's."""
        assert self.process.is_alive(), self.output.read_text()
        try:
            holder = json.loads((self._data_dir / "easel.lock").read_text())
        except (FileNotFoundError, ValueError):
            return ""
        return holder["url"] if holder["pid"] == self.process.pid else ""

    def ask_for(self, prompt: str) -> str:
        answer = httpx.post(f"{self.url}/jobs", json={"command": "imagine", "options": {"prompt": prompt}})
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def wait_until_it_runs(self, job_id: str) -> None:
        until(lambda: (httpx.get(f"{self.url}/jobs/{job_id}").json()["progress"] or {}).get("step"))

    def stop(self, within_s: float) -> int:
        """Stop it; returns its exit status. None of its processes may survive."""
        self.process.signal(signal.SIGTERM)
        status = self.process.wait(within_s)
        assert self.process.wait_until_gone(2.0) is not None, "a child outlived its server"
        return status

    def states(self) -> dict[str, str]:
        with closing(sqlite3.connect(self._data_dir / "easel.db")) as database:
            return dict(database.execute("SELECT id, state FROM job"))


def until(is_true: Callable[[], Any], within_s: float = 90.0) -> None:
    deadline = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path, crash_forks) -> Iterator[Callable[..., Server]]:
    servers = []

    def start_one(*arguments: str, **settings: str) -> Server:
        servers.append(Server(tmp_path, crash_forks, [*(arguments or ("-m", "tests.crash.server"))], **settings))
        return servers[-1]

    yield start_one
    for server in servers:
        server.process.close()


def test_a_job_that_ends_within_the_deadline_is_finished_and_the_rest_waits(start):
    server = start()
    server.wait_until_ready()
    runs, waits = server.ask_for(TAKES_1_S), server.ask_for(TAKES_1_S)
    server.wait_until_it_runs(runs)

    status = server.stop(within_s=15)

    assert status == 0, server.output.read_text()
    assert server.states() == {runs: "delivered", waits: "queued"}


def test_a_job_that_does_not_end_within_the_deadline_goes_back_to_the_queue(start):
    server = start(EASEL_QUEUE__DRAIN_S="0.5")
    server.wait_until_ready()
    job_id = server.ask_for(TAKES_60_S)
    server.wait_until_it_runs(job_id)

    status = server.stop(within_s=15)

    assert status == 0, server.output.read_text()
    assert server.states() == {job_id: "queued"}


def test_a_second_signal_ends_immediately_and_the_next_server_resumes_the_job(start):
    server = start()
    server.wait_until_ready()
    job_id = server.ask_for(TAKES_60_S)
    server.wait_until_it_runs(job_id)
    server.process.signal(signal.SIGTERM)
    until(lambda: "Stopping" in server.output.read_text())

    status = server.stop(within_s=2)

    assert status == 130
    assert server.states() == {job_id: "running"}
    following = start()
    following.wait_until_ready()
    following.wait_until_it_runs(job_id)


def test_a_second_server_on_the_same_data_directory_is_refused_with_the_first_named(start):
    first = start()
    first.wait_until_ready()

    second = start("main.py", "serve")

    assert second.process.wait(20) == 1
    output = second.output.read_text()
    assert f"process {first.process.pid}" in output
    assert first.url.removesuffix("/api/v1") in output
    assert "Traceback" not in output
