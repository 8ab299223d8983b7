"""How far a job is, on stderr: one line that changes on a terminal, a few lines elsewhere."""

import sys
import time
from typing import Self, TextIO

from adapters.cli.views import DONE, JobBody

LINE_EVERY_S = 10.0
"""Between two lines about the same state, where lines cannot change."""


class Line:
    """Leaving the `with` block clears the line."""

    def __init__(self, stream: TextIO | None = None, *, prefix: str = "") -> None:
        self._stream = stream or sys.stderr
        self._prefix = prefix
        self._is_terminal = self._stream.isatty()
        self._last = ""
        self._last_kind = ""
        self._last_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._is_terminal and self._last:
            self._write("\r\x1b[K")

    def show(self, words: str, *, kind: str) -> None:
        """Where lines cannot change, one for each `kind`, and then one now and again."""
        line = self._prefix + words
        if self._is_terminal:
            if line != self._last:
                self._write(f"\r\x1b[K{line}")
        elif kind != self._last_kind or (line != self._last and time.monotonic() - self._last_at >= LINE_EVERY_S):
            self._write(f"{line}\n")
            self._last_kind, self._last_at = kind, time.monotonic()
        self._last = line

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Progress(Line):
    def show_job(self, job: JobBody) -> None:
        self.show(describe(job), kind=job["state"])


def describe(job: JobBody) -> str:
    """One line on where the job stands."""
    left = f", about {max(1, round(job['eta_s']))} s left" if job.get("eta_s") is not None else ""
    state, progress = job["state"], job.get("progress")
    if state == "queued" and (arrival := job.get("arrival")):
        percent = f", {100 * arrival['done'] // arrival['total']} %" if arrival["total"] else ""
        doing = "Downloading" if arrival["stage"] == "downloading" else "Getting ready"
        return f"{doing} {arrival['title']}{percent}{left}."
    if state == "queued":
        position = job.get("position")
        return f"Queued{f', number {position}' if position else ''}{left}."
    if state == "running" and progress and progress["steps"]:
        return f"Step {progress['step']} of {progress['steps']}{left}."
    if state == "running":
        return f"Working{left}."
    return "Done." if state in DONE else f"Ended: {state}."
