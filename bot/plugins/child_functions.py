"""Runs functions of a plugin in a child process of its own, for libraries that the server must not import.

The child starts with the first call and answers one call after the other. It ends with the plugin, with the server
however that ends, and when nobody waits for its answer any more: then it may be stuck.
"""

import asyncio
import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bot.plugins.plugin_errors import error_line
from bot.plugins.server_modules import MODULE_PREFIX, import_file

STOP_S = 2.0


class ChildFailed(Exception):
    """The function raised, or its process ended. The text says which error, and where."""


@dataclass(eq=False)
class ChildFunctions:
    """`path`: of the plugin's file; None: it is an installed package."""

    name: str
    path: Path | None = None

    _process: BaseProcess | None = None
    _pipe: Connection | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _switching: threading.Lock = field(default_factory=threading.Lock)

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the function, which a module of the plugin defines, returns. Raises: ChildFailed."""
        if "<locals>" in function.__qualname__ or "<lambda>" in function.__qualname__:
            raise ChildFailed("run_in_process takes a function that the plugin's module defines at its top")
        async with self._turn:
            is_abandoned = threading.Event()
            answered = False
            call = (function.__module__, function.__qualname__, args)
            try:
                is_ok, answer = await asyncio.to_thread(self._ask, call, is_abandoned)
                answered = True
            except (EOFError, OSError) as error:
                raise ChildFailed(f"the process of the plugin {self.name} ended") from error
            except (TypeError, AttributeError, pickle.PicklingError) as error:
                raise ChildFailed(f"arguments cannot be pickled: {error}") from error
            finally:
                if not answered:
                    is_abandoned.set()
                    self.kill()
        if not is_ok:
            raise ChildFailed(str(answer))
        return answer

    def _ask(self, call: tuple[str, str, tuple[Any, ...]], is_abandoned: threading.Event) -> tuple[bool, Any]:
        with self._switching:
            if is_abandoned.is_set():
                raise EOFError
            pipe = self._pipe or self._start()
        pipe.send(call)
        answer: tuple[bool, Any] = pipe.recv()
        return answer

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=serve_functions, args=(theirs, self.name, self.path), name=f"plugin-{self.name}", daemon=True
        )
        self._process.start()
        theirs.close()
        return self._pipe

    def kill(self) -> None:
        """End the process; the next call starts another."""
        with self._switching:
            process, self._process, self._pipe = self._process, None, None  # the thread that waits gets an EOFError
        if process is not None:
            process.kill()
            process.join(STOP_S)


def serve_functions(pipe: Connection, name: str, path: Path | None) -> None:
    """The child: answers calls until the pipe closes."""
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process
    module_name = MODULE_PREFIX + name.replace("-", "_")
    if path is not None and module_name not in sys.modules:
        try:
            import_file(name, path)
        except Exception as error:
            _answer_all(pipe, _describe(error))
    while True:
        try:
            module, function_name, args = pipe.recv()
        except EOFError:
            return
        try:
            function: Any = sys.modules.get(module) or importlib.import_module(module)
            for part in function_name.split("."):
                function = getattr(function, part)
            answer = (True, function(*args))
        except Exception as error:
            answer = (False, _describe(error))
        try:
            pipe.send(answer)
        except (TypeError, AttributeError, ValueError) as error:  # it cannot be pickled
            pipe.send((False, _describe(error)))


def _answer_all(pipe: Connection, problem: str) -> None:
    while True:
        pipe.recv()
        pipe.send((False, problem))


def _describe(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{error_line(error)}{place}"


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
