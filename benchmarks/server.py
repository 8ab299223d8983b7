"""A real server for benchmarks: `python main.py serve` in a fresh data directory, used over REST."""

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


class ServerProcess:
    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self._process = process
        self._folder = folder

    def url(self) -> str:
        """Waits until it is published."""
        return str(self.wait_until(self._published_url))

    def wait_until(self, condition: Callable[[], Any], every_s: float = 0.02) -> Any:
        """The first true result of `condition`. Raises: RuntimeError."""
        deadline = time.monotonic() + LIMIT_S
        while not (result := condition()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server exited, or did not get there in time")
            time.sleep(every_s)
        return result

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _published_url(self) -> str:
        try:
            return str(json.loads((self._folder / "easel.lock").read_text())["url"]).rstrip("/")
        except (FileNotFoundError, ValueError):
            return ""


@contextmanager
def start_server(**environ: str) -> Iterator[ServerProcess]:
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
        server = ServerProcess(process, Path(folder))
        try:
            yield server
        finally:
            server.stop()


def http_get(url: str) -> bytes | None:
    """None while the server does not respond."""
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            data: bytes = response.read()
            return data
    except (urllib.error.URLError, ConnectionError):
        return None


def post_job(url: str, command: str, options: dict[str, Any]) -> str:
    """The new job's id."""
    body = json.dumps({"command": command, "options": options}).encode()
    request = urllib.request.Request(f"{url}/api/v1/jobs", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return str(json.load(response)["id"])
