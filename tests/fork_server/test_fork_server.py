"""A forked program is what the real start would have made, and ends as that would have ended."""

import asyncio
import json
import os
import signal
import socket
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from inference.ipc import messages
from inference.ipc.process import ChildProcess
from tests.fork_server import client
from tests.fork_server.client import REAL_START, Forks, ForkServer
from tests.fork_server.spawn import spawn_from

pytestmark = [
    pytest.mark.skipif(not client.IS_SUPPORTED, reason="only Linux has process file descriptors"),
    pytest.mark.process,
]
ABOUT = """
import json, os, signal, sys, threading
ignored = [int(number) for number in signal.valid_signals() if signal.getsignal(number) == signal.SIG_IGN]
print(json.dumps({
    "argv": sys.argv, "path": sys.path[0], "cwd": os.getcwd(), "environ": dict(os.environ), "ignored": ignored,
    "leads": os.getsid(0) == os.getpgid(0) == os.getpid(), "files": sorted(map(int, os.listdir("/proc/self/fd")))[:3],
    "open": len(os.listdir("/proc/self/fd")), "threads": threading.active_count(), "input": sys.stdin.read(),
    "name": __name__, "encoding": sys.stdout.encoding, "umask": os.umask(0), "nice": os.nice(0),
}))
"""
SLEEP = "import time; print('asleep', flush=True); time.sleep(60)"


@pytest.fixture
def about(tmp_path) -> Path:
    path = tmp_path / "about.py"
    path.write_text(ABOUT)
    return path


@pytest.fixture
def sleeper(tmp_path):
    """A program of a fork server of its own."""
    server = ForkServer("nothing", os.environ)
    with (tmp_path / "output.txt").open("wb") as output:
        process = client.start(["-c", SLEEP], Forks(server.address), env=os.environ, output=output)
    until(lambda: (tmp_path / "output.txt").read_text() == "asleep\n")
    yield server, process
    process.kill()
    server.close()


def until(holds, within_s=10.0):
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_caught(pid, number):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1


@pytest.mark.parametrize("how", ["code", "file"])
def test_a_program_finds_what_the_real_start_gives_it(server_forks, about, tmp_path, how):
    arguments = ["-c", ABOUT, "a", "b"] if how == "code" else [str(about), "a", "b"]
    environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "ONLY": "mine"}

    forked, real = (
        client.run(arguments, forks, env=environ, cwd=tmp_path, timeout=60) for forks in (server_forks, REAL_START)
    )

    assert (forked.returncode, forked.stderr) == (real.returncode, real.stderr) == (0, "")
    assert json.loads(forked.stdout) == json.loads(real.stdout)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise SystemExit(3)", 3),
        ("raise SystemExit('no')", 1),
        ("1 / 0", 1),
        ("import atexit; atexit.register(print, 'bye')", 0),
        ("import os; os._exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
    ],
)
def test_its_end_is_told_as_of_the_real_start(server_forks, tmp_path, code, status):
    forked, real = (
        client.run(["-c", code], forks, env=os.environ, cwd=tmp_path, timeout=60)
        for forks in (server_forks, REAL_START)
    )

    assert forked.returncode == real.returncode == status
    assert forked.stdout == real.stdout
    assert forked.stderr.splitlines()[-1:] == real.stderr.splitlines()[-1:]


def test_it_dies_with_its_requester(sleeper):
    _, process = sleeper
    process._connection.shutdown(socket.SHUT_RDWR)

    until(lambda: not is_alive(process.pid))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_dies_with_the_fork_server(sleeper, number):
    server, process = sleeper
    os.kill(server.pid, number)

    until(lambda: not is_alive(process.pid))


def test_it_dies_at_the_end_of_the_session(sleeper):
    server, process = sleeper
    server.close()

    assert not is_alive(process.pid)


# ---------------------------------------------------------------- children of the server


@pytest.fixture
async def worker(server_forks, monkeypatch):
    monkeypatch.setattr(ChildProcess, "spawn", spawn_from({"inference.worker": server_forks.program}))
    child = await ChildProcess.start("cpu", "inference.worker", "0")
    yield child
    await child.close()


async def test_a_child_has_pipes_a_group_and_a_status_of_its_own(worker):
    worker.send(messages.Shutdown())

    assert os.getpgid(worker.pid) == worker.pid
    assert await worker.receive() is None  # that is no beginning, so it ends
    assert await worker.close(10) == 0


async def test_a_killed_child_is_told_and_leaves_its_last_words(worker):
    until(lambda: is_caught(worker.pid, signal.SIGSEGV))
    os.kill(worker.pid, signal.SIGSEGV)

    assert await asyncio.wait_for(worker._process.wait(), 10) == -signal.SIGSEGV
    await worker.close()
    assert "Segmentation fault" in worker.crash_trace


async def test_other_modules_have_the_real_start(worker):
    child = await ChildProcess.start("sleeper", "tests.inference.sleeper")

    assert psutil.Process(child.pid).ppid() == os.getpid()
    assert psutil.Process(worker.pid).ppid() != os.getpid()
    assert await child.close() == -signal.SIGKILL
