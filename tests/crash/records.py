"""Append-only logs that survive their writer: each line is on disk before `write` returns."""

import json
import os
import time
from pathlib import Path
from typing import Any

EVENTS = "events.jsonl"
"""Events logged by the servers: started, open, accepted, cancel, run, quiet."""
PLATFORM = "platform.jsonl"
"""Calls received by the chat server; shared by all generations."""
PLAN = "plan.jsonl"


class Log:
    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, **fields: Any) -> None:
        os.write(self._handle, (json.dumps({**fields, "at": time.time()}) + "\n").encode())
        os.fsync(self._handle)


def read(path: Path) -> list[dict[str, Any]]:
    """All complete lines."""
    if not path.exists():
        return []
    *lines, _torn = path.read_text().split("\n")
    return [json.loads(line) for line in lines]


def note(path: Path, **fields: Any) -> None:
    with path.open("a") as file:
        file.write(json.dumps(fields) + "\n")
