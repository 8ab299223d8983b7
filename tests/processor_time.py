"""Processor seconds per test file, of its own and of its child processes: `make times` prints the table.

A child counts when it has been waited for; a program of a fork server, when it has ended. What a fixture of the whole
session costs counts for the first file that uses it.
"""

import json
import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fork_server import client

SLOW_S = 0.25
SLOW_TESTS = Path(__file__).with_name("slow_tests.txt")
"""`make quick` leaves them out. Written by `make times`."""


def used_s() -> tuple[float, float]:
    """User and system seconds of this process; of its fork servers and the children it has waited for."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    forked_s = sum(server.used_s() for server in client.RUNNING)
    return own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime + forked_s


class ProcessorTime:
    """Counts in each worker; the last process to end has the whole table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
        self.slow: set[str] = set()
        """Tests without child process and browser that take long, whatever they wait for."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        own, children = used_s()
        started = time.monotonic()
        result = yield
        own_after, children_after = used_s()
        if time.monotonic() - started > SLOW_S and not (
            item.get_closest_marker("process") or item.get_closest_marker("page")
        ):
            self.slow.add(item.nodeid.partition("[")[0])
        row = self.files[item.nodeid.partition("::")[0]]
        row[0] += 1
        row[1] += own_after - own
        row[2] += children_after - children
        return result

    def pytest_sessionfinish(self) -> None:
        own, children = used_s()
        name = os.environ.get("PYTEST_XDIST_WORKER", "main")
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = {"files": self.files, "own_s": own, "children_s": children, "slow": sorted(self.slow)}
        (self.folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    if folder := os.environ.get("PYTEST_PROCESSOR_TIME"):
        config.pluginmanager.register(ProcessorTime(Path(folder)))


def read_workers(folder: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}


def table(measured: dict[str, Any], longest: int = 40) -> Iterator[str]:
    """The files that cost most, and the sum of all processes."""
    files: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    for one in measured.values():
        for name, row in one["files"].items():
            files[name] = [sum(pair) for pair in zip(files[name], row, strict=True)]
    rows = sorted(files.items(), key=lambda item: -sum(item[1][1:]))
    others = [sum(column) for column in zip(*(row for _, row in rows[longest:]), strict=True)]
    if others:
        rows[longest:] = [(f"{len(rows) - longest} other files", others)]
    yield f"{'file':60} tests     own  children     sum"
    for name, (count, own, children) in rows:
        yield f"{name:60} {count:5.0f} {own:7.1f} {children:9.1f} {own + children:7.1f}"
    yield f"The whole suite: {measured['main']['own_s'] + measured['main']['children_s']:.0f} processor seconds."


if __name__ == "__main__":
    workers = read_workers(Path(sys.argv[1]))
    sys.stdout.writelines(f"{line}\n" for line in table(workers))
    names = sorted({name for one in workers.values() for name in one["slow"]})
    SLOW_TESTS.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
