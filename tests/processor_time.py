"""Processor seconds per test file, its own and its child processes': `make times` prints the table.

A child is counted when it has been waited for. Fixtures of a session or of the workers' start are in the file that
opened them first.
"""

import json
import os
import resource
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest


def used_s() -> tuple[float, float]:
    """User and system seconds of this process, and of the children it has waited for."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime


class ProcessorTime:
    """Counts in each worker; the last process to end has the whole table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        own, children = used_s()
        result = yield
        own_after, children_after = used_s()
        row = self.files[item.nodeid.partition("::")[0]]
        row[0] += 1
        row[1] += own_after - own
        row[2] += children_after - children
        return result

    def pytest_sessionfinish(self) -> None:
        own, children = used_s()
        name = os.environ.get("PYTEST_XDIST_WORKER", "main")
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = {"files": self.files, "own_s": own, "children_s": children}
        (self.folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    if folder := os.environ.get("PYTEST_PROCESSOR_TIME"):
        config.pluginmanager.register(ProcessorTime(Path(folder)))
