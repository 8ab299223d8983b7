"""Imports what programs need, then forks one for each request: `python -m tests.fork_server.server PRELOAD SOCKET_FD`.

Nothing runs before the fork: no thread, no tensor, no setting of ours. A program dies with its requester, whose
connection ends, and with this process, which ends at the end of its stdin.
"""

import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import pkgutil
import re
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.fork_server.client import PARENT

_PR_SET_PDEATHSIG = 1
_CHUNK = 2**20
_AT_IMPORT = re.compile(r"HF_HUB_(?!CACHE)|DIFFUSERS_|TRANSFORMERS_|PYTORCH_|TORCH_|CUDA_")
"""The cache is not among them: our code names it in each call."""


# ---------------------------------------------------------------- what is imported


def _modules_of(*packages: str) -> Iterator[str]:
    for package in packages:
        yield package
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                yield module.name


def preload_engines() -> None:
    """What the worker of a device imports until its models are loaded."""
    import diffusers
    import transformers

    from inference.diffusion.samplers import SCHEDULERS

    for name in (
        "diffusers.guiders",
        "inference.diffusion.engine",
        "inference.safety.nsfw_classifier",
        "inference.vision.engine",
        "inference.vision.match_engine",
        "inference.worker.loop",
    ):
        importlib.import_module(name)
    for name in ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", *SCHEDULERS.values()):
        getattr(diffusers, name)
    for name in ("BlipForQuestionAnswering", "CLIPModel", "CLIPTextModel", "CLIPTokenizer"):
        getattr(transformers, name)


def preload_server() -> None:
    """What `main.py` imports for its commands."""
    for name in _modules_of("adapters", "bot", "composition", "storage"):
        if name != "storage.mean_vectors":  # with numpy, in a thread, by the first search that needs it
            importlib.import_module(name)
    _refuse("torch", "huggingface_hub", "numpy", "PIL")


def preload_workers() -> None:
    """What children import that need no torch: devices' with the engines of tests, those for images and downloads."""
    for name in (
        *("filelock", "httpcore2", "httpx2", "tqdm.auto", "truststore", "yaml"),
        *("huggingface_hub.file_download", "huggingface_hub.hf_api", "inference.hub.transfer"),
        *("inference.checkpoints.identify", "inference.images.worker", "inference.worker.loop"),
        "tests.inference.engines",
    ):
        importlib.import_module(name)
    _refuse("torch")


def preload_nothing() -> None:
    """For programs that only sleep."""


PRELOADS: dict[str, Callable[[], None]] = {
    "engines": preload_engines,
    "nothing": preload_nothing,
    "server": preload_server,
    "workers": preload_workers,
}


def _refuse(*modules: str) -> None:
    if found := set(modules) & set(sys.modules):
        sys.exit(f"it has imported {found}")


# ---------------------------------------------------------------- one program


@dataclass(frozen=True)
class Program:
    """`arguments`: as of `python`, so "-m MODULE ...", "-c CODE ..." or "FILE ..."."""

    arguments: list[str]
    environ: dict[str, str]
    cwd: str
    session: bool = False
    group: bool = False
    ignores_sigint: bool = False
    children: dict[str, str] = field(default_factory=dict)
    """The addresses of the fork servers that its own children come from, by module."""

    def settle(self, parent: int, files: list[int]) -> None:
        """What happens between fork and exec of any child, and what an interpreter sets when it starts."""
        if self.session:
            os.setsid()
        elif self.group:
            os.setpgid(0, 0)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        signal.signal(signal.SIGINT, signal.SIG_IGN if self.ignores_sigint else signal.default_int_handler)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        if found := _read_at_import(self.environ):
            sys.exit(f"this needs the real start: libraries have read {', '.join(found)} when they were imported")
        os.chdir(self.cwd)
        os.environ.clear()
        os.environ.update(self.environ)
        is_unbuffered = bool(self.environ.get("PYTHONUNBUFFERED"))
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, "__stdin__", sys.stdin)  # noqa: B010 - typed as final
        for name, number in (("stdout", 1), ("stderr", 2)):
            binary = open(number, "wb", buffering=0 if is_unbuffered else -1, closefd=False)  # noqa: SIM115
            text = io.TextIOWrapper(
                binary,
                encoding="utf-8",
                errors="backslashreplace" if number == 2 else "strict",
                write_through=is_unbuffered,
                line_buffering=number == 2,
            )
            setattr(sys, name, text)
            setattr(sys, f"__{name}__", text)

    def run(self) -> None:
        if "torch" in sys.modules and (threads := os.environ.get("OMP_NUM_THREADS")):
            sys.modules["torch"].set_num_threads(int(threads))
        if "huggingface_hub.hf_api" in sys.modules:
            importlib.reload(sys.modules["huggingface_hub.constants"])  # read the environment again
        if self.children:
            from inference.ipc.process import ChildProcess
            from tests.fork_server import spawn

            ChildProcess.spawn = spawn.spawn_from(self.children)
        first, *others = [str(os.getppid()) if word == PARENT else word for word in self.arguments]
        if first == "-m":
            sys.argv = others
            sys.path[0] = self.cwd
            runpy.run_module(others[0], run_name="__main__", alter_sys=True)
        elif first == "-c":
            sys.argv = [first, *others[1:]]
            sys.path[0] = ""
            exec(others[0], vars(sys.modules["__main__"]))
        else:
            sys.argv = [first, *others]
            sys.path[0] = os.path.dirname(os.path.abspath(first))
            runpy.run_path(first, run_name="__main__")


def _read_at_import(environ: dict[str, str]) -> list[str]:
    """Names of variables that are others than when torch and Hugging Face's libraries read them."""
    if "torch" not in sys.modules:
        return []
    names = filter(_AT_IMPORT.match, {*environ, *os.environ})
    return sorted(name for name in names if environ.get(name) != os.environ.get(name))


# ---------------------------------------------------------------- the server


@dataclass
class _Running:
    """`is_wanted`: the client still holds the connection."""

    pid: int
    pidfd: int
    connection: socket.socket
    is_wanted: bool = True


class ForkServer:
    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._running: dict[int, _Running] = {}

    def serve(self) -> Program | None:
        """Returns a program in the process that is to run it, and None when all is over."""
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(0, selectors.EVENT_READ, self._end)
        while True:
            for key, _ in self._selector.select():
                program = key.data()
                if program is not None or key.fd == 0:
                    return program

    def _accept(self) -> Program | None:
        connection, _ = self._listener.accept()
        request, files = _receive(connection)
        if request is None:
            connection.close()
            return None
        program, parent = Program(**request), os.getpid()
        settled, settling = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._let_go(connection)
            os.close(settled)
            program.settle(parent, files)
            os.close(settling)
            return program
        for file in (*files, settling):
            os.close(file)
        os.read(settled, 1)  # until the child has closed it, or is dead
        os.close(settled)
        running = _Running(pid, os.pidfd_open(pid), connection)
        self._running[pid] = running
        self._selector.register(running.pidfd, selectors.EVENT_READ, lambda: self._ended(running))
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._left(running))
        _send(connection, pid=pid)
        return None

    def _ended(self, running: _Running) -> None:
        _, status = os.waitpid(running.pid, 0)
        del self._running[running.pid]
        self._selector.unregister(running.pidfd)
        os.close(running.pidfd)
        _send(running.connection, status=os.waitstatus_to_exitcode(status))
        self._drop(running)
        running.connection.close()

    def _left(self, running: _Running) -> None:
        """The requester is gone."""
        if running.pid in self._running:
            self._drop(running)
            os.kill(running.pid, signal.SIGKILL)

    def _drop(self, running: _Running) -> None:
        if running.is_wanted:
            self._selector.unregister(running.connection)
            running.is_wanted = False

    def _end(self) -> None:
        for running in list(self._running.values()):
            os.kill(running.pid, signal.SIGKILL)
            self._ended(running)

    def _let_go(self, connection: socket.socket) -> None:
        """In the fork: of everything that belongs to the server."""
        connection.close()
        self._listener.close()
        self._selector.close()
        for running in self._running.values():
            running.connection.close()
            os.close(running.pidfd)


def _receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """One line of JSON, and the files for stdin, stdout and stderr."""
    content, files, _, _ = socket.recv_fds(connection, _CHUNK, 3)
    while content and not content.endswith(b"\n"):
        content += (more := connection.recv(_CHUNK))
        if not more:
            break
    return (json.loads(content) if content.endswith(b"\n") else None), list(files)


def _send(connection: socket.socket, **fields: int) -> None:
    with contextlib.suppress(OSError):  # it is gone; `_left` hears of it
        connection.sendall(json.dumps(fields).encode() + b"\n")


def main() -> Program | None:
    gc.disable()  # importing makes no garbage
    PRELOADS[sys.argv[1]]()
    gc.enable()
    gc.freeze()
    threads = os.listdir("/proc/self/task")
    if len(threads) > 1:
        sys.exit(f"{len(threads)} threads: a fork would copy only one of them")
    return ForkServer(socket.socket(fileno=int(sys.argv[2]))).serve()


if __name__ == "__main__" and (found := main()):
    found.run()
