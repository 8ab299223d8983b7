"""A real server for benchmarks: `python main.py serve` in a fresh data directory, asked over REST."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT

LIMIT_S = 600.0


class Server:
    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self._process = process
        self._folder = folder

    def url(self) -> str:
        """Waits until it is known."""
        return str(self.until(self._published))

    def until(self, look: Callable[[], Any], every_s: float = 0.02) -> Any:
        """What `look` finds in the end. Raises: RuntimeError."""
        deadline = time.monotonic() + LIMIT_S
        while not (found := look()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server ended or never got there")
            time.sleep(every_s)
        return found

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _published(self) -> str:
        try:
            return str(json.loads((self._folder / "easel.lock").read_text())["url"]).rstrip("/")
        except (FileNotFoundError, ValueError):
            return ""


@contextmanager
def serving(**environ: str) -> Iterator[Server]:
    """`environ`: settings on top of the shipped ones, such as `EASEL_POOL__THREADS`."""
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        process = subprocess.Popen(
            [sys.executable, "main.py", "serve"],
            cwd=ROOT,
            env={**os.environ, "EASEL_DATA_DIR": folder, "EASEL_WEB__PORT": "0", **environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        server = Server(process, Path(folder))
        try:
            yield server
        finally:
            server.stop()


def get(url: str) -> bytes | None:
    """None while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            data: bytes = answer.read()
            return data
    except (urllib.error.URLError, ConnectionError):
        return None


def post_job(url: str, command: str, options: dict[str, Any]) -> str:
    """The new job's id."""
    body = json.dumps({"command": command, "options": options}).encode()
    request = urllib.request.Request(f"{url}/api/v1/jobs", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["id"])
