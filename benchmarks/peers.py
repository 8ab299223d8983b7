"""Starts the peers, each a server in a process of its own, and asks them over HTTP on the loopback."""

import asyncio
import base64
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from typing import IO

import httpx

from benchmarks.machine import ROOT
from benchmarks.shapes import Shape
from benchmarks.stream import Seen, Side
from benchmarks.workload import Wish

LITSERVE = ROOT / "build" / "litserve"
_LITSERVE_NEEDS = ("litserve==0.2.19", "pyzmq==27.3.0", "uvloop==0.23.0", "httptools==0.9.0", "python-dotenv==1.2.4")
"""Not among Easel's own packages: uvicorn takes uvloop wherever it finds it, so that the product would be another.
FastAPI and the rest are Easel's."""
_START_S = 600.0
_BATCH = 8


@dataclass(frozen=True)
class Peer:
    name: str
    module: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def command(self, folder: str, port: int) -> list[str]:
        return [sys.executable, "-m", self.module, *self.before, folder, str(port), *self.after]


LOCK = Peer("lock", "benchmarks.peer_server", before=("lock",))
THREADS = Peer("threads", "benchmarks.peer_server", before=("threads",))
LITSERVE_ONE = Peer("LitServe", "benchmarks.peer_litserve", after=("1",))
LITSERVE_BATCH = Peer(f"LitServe, batches of {_BATCH}", "benchmarks.peer_litserve", after=(str(_BATCH),))
PEERS = (LOCK, THREADS, LITSERVE_ONE, LITSERVE_BATCH)


class _Asked:
    """A running peer as one side of a comparison."""

    def __init__(self, name: str, client: httpx.AsyncClient) -> None:
        self.name = name
        self._client = client

    async def make(self, wish: Wish) -> AsyncIterator[Seen]:
        async with self._client.stream("POST", "/predict", json=asdict(wish)) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                what, _, data = line.partition(" ")
                if data:
                    yield Seen(base64.b64decode(data), is_picture=what == "picture")


@asynccontextmanager
async def running(peer: Peer, shape: Shape, threads: int) -> AsyncIterator[Side]:
    if peer.module.endswith("litserve"):
        await asyncio.to_thread(_install_litserve)
    with tempfile.TemporaryFile() as log, _server(peer, shape, threads, log) as (process, port):
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=None, limits=limits) as client:
            try:
                await _until_ready(client, process)
                yield _Asked(peer.name, client)
            except (httpx.HTTPError, RuntimeError, ExceptionGroup):
                log.seek(0)
                print(log.read().decode(errors="replace")[-4000:], file=sys.stderr)
                raise


@contextmanager
def _server(peer: Peer, shape: Shape, threads: int, log: IO[bytes]) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    port = _free_port()
    process = _start(peer.command(str(shape.folder), port), threads, log)
    try:
        yield process, port
    finally:
        _stop(process)


def _start(command: list[str], threads: int, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    some = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)} if threads else {}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **some, "PYTHONPATH": str(LITSERVE), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=log,
        # Not in a session of its own: Linux shares the processor among sessions, and ours has just this one.
        process_group=0,
    )


def _install_litserve() -> None:
    if not (LITSERVE / "litserve").is_dir():
        pip = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(LITSERVE)]
        subprocess.run([*pip, *_LITSERVE_NEEDS], check=True)


async def _until_ready(client: httpx.AsyncClient, process: "subprocess.Popen[bytes]") -> None:
    async with asyncio.timeout(_START_S):
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"the peer ended with {process.returncode}")
            try:
                if (await client.get("/health")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """The server and its workers, which are in one group."""
    for way in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, way)
            process.wait(5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
