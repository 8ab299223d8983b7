"""What code that took over a decoder would try.

`python -m tests.inference.intruder PARENT_PID MEMORY_MB CPU_S NICE` is the image worker with a decoder that tries all
of it; with `--only MEASURE,... TARGETS` it is a process that took just these measures, and prints the outcomes.
"""

import ctypes
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from inference.images import decode, worker
from inference.ipc import sandbox
from inference.ipc.image_messages import SanitizeReply, SanitizeRequest

_IO_URING_SETUP = 425
"""A system call that opens files and sockets without calls of their own; the same on every processor."""
LARGE = 2**20


@dataclass(frozen=True)
class Targets:
    """`port`: on loopback, something listens there; `pid`: another process of the same user."""

    data_dir: str
    port: int
    pid: int


def list_attempts(targets: Targets, open_file: int | None = None) -> dict[str, Callable[[], object]]:
    """`open_file`: the descriptor of a file that was opened for writing before."""
    data_dir = Path(targets.data_dir)
    secrets = data_dir / "secrets.env"
    grow = {} if open_file is None else {"grow an open file": lambda: os.write(open_file, bytes(LARGE))}
    return grow | {
        "read secrets.env": secrets.read_bytes,
        "list the data directory": lambda: os.listdir(data_dir),
        "read the server's environment": Path(f"/proc/{targets.pid}/environ").read_bytes,
        "open a socket": lambda: _connect(targets.port),
        "open a datagram socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
        "open a local socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "fork": _fork,
        "start a program": lambda: subprocess.run(["/bin/true"], check=True),
        "start a thread": lambda: threading.Thread(target=int).start(),
        "signal the server": lambda: os.kill(targets.pid, 0),
        "write a large file": lambda: (data_dir / "large").write_bytes(bytes(LARGE)),
        "change a mode": lambda: secrets.chmod(0o644),
        "make a link": lambda: (data_dir / "link").symlink_to(secrets),
        "use io_uring": _set_up_io_uring,
        "delete secrets.env": secrets.unlink,
    }


def try_all(targets: Targets, open_file: int | None = None) -> dict[str, str]:
    """For each attempt why it failed; "": it did not."""
    return {name: _failure_of(attempt) for name, attempt in list_attempts(targets, open_file).items()}


def _failure_of(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except Exception as error:
        return type(error).__name__
    return ""


def _connect(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.connect(("127.0.0.1", port))


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _set_up_io_uring() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    ring = libc.syscall(ctypes.c_long(_IO_URING_SETUP), ctypes.c_long(1), ctypes.create_string_buffer(120))
    if ring < 0:
        raise OSError(ctypes.get_errno(), "io_uring")
    os.close(ring)


def _sanitize(request: SanitizeRequest) -> SanitizeReply:
    outcomes = try_all(Targets(**json.loads(request.data)))
    return SanitizeReply(data=b"", media_type="image/png", width=1, height=1, parameters=outcomes)


def to_upload(targets: Targets) -> bytes:
    return json.dumps(asdict(targets)).encode()


if __name__ == "__main__":
    if sys.argv[1] == "--only":
        targets = Targets(**json.loads(sys.argv[3]))
        with tempfile.TemporaryFile() as file:
            sandbox.confine(filter(None, sys.argv[2].split(",")))
            sys.stdout.write(json.dumps(try_all(targets, file.fileno())))
    else:
        decode.sanitize = _sanitize
        worker.main()
