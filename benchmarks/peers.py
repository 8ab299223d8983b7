"""Starts the peers, each a server in its own process, and sends them requests over HTTP on loopback."""

import asyncio
import base64
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from typing import IO

import httpx

from benchmarks.machine import ROOT
from benchmarks.shapes import ModelShape
from benchmarks.stream import Contender, Output
from benchmarks.workload import ImageRequest

LITSERVE = ROOT / "build" / "litserve"
_LITSERVE_REQUIREMENTS = (
    "litserve==0.2.19",
    "pyzmq==27.3.0",
    "uvloop==0.23.0",
    "httptools==0.9.0",
    "python-dotenv==1.2.4",
)
"""Installed separately from Easel's packages: uvicorn uses uvloop if it is installed, which would change the product.
FastAPI and the rest are Easel's."""
_START_S = 600.0
_BATCH = 8


@dataclass(frozen=True)
class Peer:
    name: str
    module: str
    args_before: tuple[str, ...] = ()
    args_after: tuple[str, ...] = ()

    def command(self, folder: str, port: int) -> list[str]:
        return [sys.executable, "-m", self.module, *self.args_before, folder, str(port), *self.args_after]


LOCK = Peer("lock", "benchmarks.peer_server", args_before=("lock",))
THREADS = Peer("threads", "benchmarks.peer_server", args_before=("threads",))
LITSERVE_ONE = Peer("LitServe", "benchmarks.peer_litserve", args_after=("1",))
LITSERVE_BATCH = Peer(f"LitServe, batches of {_BATCH}", "benchmarks.peer_litserve", args_after=(str(_BATCH),))
PEERS = (LOCK, THREADS, LITSERVE_ONE, LITSERVE_BATCH)


def chosen_peers(setting: str | None = None) -> Sequence[Peer]:
    """All of them, or those named in `BENCH_PEERS`, with commas, such as `lock,threads`; the lock is always there."""
    named = {one.strip() for one in (setting or os.environ.get("BENCH_PEERS", "")).split(",") if one.strip()}
    return [peer for peer in PEERS if not named or peer is LOCK or peer.name.partition(",")[0].lower() in named]


class _PeerContender:
    """A running peer."""

    def __init__(self, name: str, client: httpx.AsyncClient) -> None:
        self.name = name
        self._client = client

    async def generate(self, request: ImageRequest) -> AsyncIterator[Output]:
        async with self._client.stream("POST", "/predict", json=asdict(request)) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                kind, _, data = line.partition(" ")
                if data:
                    yield Output(base64.b64decode(data), is_final=kind == "image")


@asynccontextmanager
async def start_peer(peer: Peer, shape: ModelShape, threads: int) -> AsyncIterator[Contender]:
    if peer.module.endswith("litserve"):
        await asyncio.to_thread(_install_litserve)
    with tempfile.TemporaryFile() as log, _run_server(peer, shape, threads, log) as (process, port):
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=None, limits=limits) as client:
            try:
                await _wait_until_ready(client, process)
                yield _PeerContender(peer.name, client)
            except (httpx.HTTPError, RuntimeError, ExceptionGroup):
                log.seek(0)
                print(log.read().decode(errors="replace")[-4000:], file=sys.stderr)
                raise


@contextmanager
def _run_server(
    peer: Peer, shape: ModelShape, threads: int, log: IO[bytes]
) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    port = _free_port()
    process = _start_process(peer.command(str(shape.folder), port), threads, log)
    try:
        yield process, port
    finally:
        _stop_process(process)


def _start_process(command: list[str], threads: int, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    thread_limits = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)} if threads else {}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **thread_limits, "PYTHONPATH": str(LITSERVE), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=log,
        # In our session: Linux divides the CPU among sessions, so a separate one would get more of it than ours.
        process_group=0,
    )


def _install_litserve() -> None:
    if not (LITSERVE / "litserve").is_dir():
        pip = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(LITSERVE)]
        subprocess.run([*pip, *_LITSERVE_REQUIREMENTS], check=True)


async def _wait_until_ready(client: httpx.AsyncClient, process: "subprocess.Popen[bytes]") -> None:
    async with asyncio.timeout(_START_S):
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"the peer exited with {process.returncode}")
            try:
                if (await client.get("/health")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


def _stop_process(process: "subprocess.Popen[bytes]") -> None:
    """Stop the server and its workers, which are in one process group."""
    for stop_signal in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, stop_signal)
            process.wait(5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
