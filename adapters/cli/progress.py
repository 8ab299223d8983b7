"""Progress on stderr: one line that is updated in place on a terminal, a few lines elsewhere."""

import os
import sys
import time
import unicodedata
from typing import Self, TextIO

from adapters.cli.output import printable
from adapters.cli.views import JobBody
from adapters.web.progress_lines import format_job_progress

LINE_INTERVAL_S = 10.0
"""Seconds between two lines about the same state, where lines cannot be updated in place."""


class ProgressLine:
    """A status line; leaving the `with` block clears it."""

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
        self.clear()

    def clear(self) -> None:
        """Take the line from the terminal: something else is printed there."""
        if self._is_terminal and self._last:
            self._write("\r\x1b[K")
            self._last = ""

    def show(self, text: str, *, kind: str) -> None:
        """Update the line; without a terminal print one for each new `kind`, then one every LINE_INTERVAL_S."""
        line = self._prefix + text
        if self._is_terminal:
            if line != self._last:
                self._write(f"\r\x1b[K{line}")
        elif kind != self._last_kind or (line != self._last and time.monotonic() - self._last_at >= LINE_INTERVAL_S):
            self._write(f"{line}\n")
            self._last_kind, self._last_at = kind, time.monotonic()
        self._last = line

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class JobProgressLine(ProgressLine):
    def show_job(self, job: JobBody) -> None:
        """On a terminal, an answer that is being written is shown as it grows, instead of its progress."""
        progress = job.get("progress") or {}
        text = progress.get("text") if job["state"] == "running" and self._is_terminal else None
        line = format_partial_answer(text, self._columns) if text else format_job_progress(job)
        self.show(line, kind=f"{job['state']} {progress.get('phase', '')}")

    @property
    def _columns(self) -> int:
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            columns = 80
        return max(20, columns - len(self._prefix) - 1)


def format_partial_answer(text: str, columns: int) -> str:
    """The end of what there is of an answer, in one line of at most `columns` characters."""
    line = printable(" ".join(text.split())) + " ..."
    if _width(line) <= columns:
        return line
    start, left = len(line), columns - 4
    while (left := left - _width(line[start - 1])) >= 0:
        start -= 1
    return f"... {line[start:]}"


def _width(text: str) -> int:
    """Columns of a terminal: a letter of Chinese, Japanese or Korean, and an emoji, takes two."""
    return sum(1 + (unicodedata.east_asian_width(char) in "WF") for char in text)
