"""Finds what the log says of an incident: the last lines of the newest log files, read in a thread."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_READ = 16 * 2**20
"""Bytes of each file that are searched, from its end."""
MAX_FILES = 6
MAX_FOUND = 20
MAX_TEXT = 4000
FIELDS = ("timestamp", "level", "event", "action", "job_id", "model", "device", "request", "exception")
"""Of a line of the log, what is shown: nothing that a person wrote is logged above DEBUG."""
INCIDENT = re.compile(r"[0-9a-f]{4,32}")


@dataclass(frozen=True)
class IncidentLog:
    """`folder`: the log files, which hold one JSON object a line."""

    folder: Path

    async def find(self, code: str) -> Sequence[Mapping[str, str]]:
        """The lines of this incident, newest first; none for what cannot be a code."""
        return await asyncio.to_thread(self._find, code) if INCIDENT.fullmatch(code) else ()

    def _find(self, code: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        for path in sorted(self.folder.glob("*.log*"), key=_written_at, reverse=True)[:MAX_FILES]:
            found += _lines_about(path, code)
            if len(found) >= MAX_FOUND:
                break
        return found[:MAX_FOUND]


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # it was rotated away
        return 0.0


def _lines_about(path: Path, code: str) -> list[dict[str, str]]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MAX_READ))
            lines = [line for line in file.read(MAX_READ).splitlines() if code.encode() in line]
    except OSError:
        return []
    return list(_described(reversed(lines), code))


def _described(lines: Iterator[bytes], code: str) -> Iterator[dict[str, str]]:
    for line in lines:
        try:
            event: Any = json.loads(line)
        except ValueError:  # the first line may be cut
            continue
        if isinstance(event, dict) and event.get("incident") == code:
            yield {name: str(event[name])[-MAX_TEXT:] for name in FIELDS if event.get(name)}
