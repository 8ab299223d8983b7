"""Calls the hooks of one plugin: each for a limited time, `def` in a thread of its own, `async def` on the loop.

A thread that waits outside of Python, such as in a system call, cannot be interrupted, so there are at most
`MAX_THREADS` of them, and a plugin whose hooks do not end several times in a row is switched off. The threads are
daemons: none keeps the server from stopping.
"""

import asyncio
import contextvars
import inspect
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from bot.plugins.hook_thread import HookThread
from bot.plugins.hook_values import (
    AnswerText,
    ChatMessage,
    CommandCall,
    DeliveredJob,
    PendingRequest,
    PromptText,
    Refusal,
)
from bot.plugins.plugin_errors import error_line
from bot.problem_texts.plugin_problems import FAILED, STOPPED, TOO_LONG

log = structlog.get_logger()

MAX_THREADS = 4
MAX_TIMEOUTS = 3
"""In a row; then the plugin is switched off."""
MAX_PROBLEM, MAX_FRAMES = 500, 2000
"""Characters of an error, and of where it was raised."""
LEFT = "nobody waits any more"
"""Why a call is cancelled whose hook may end within its time."""
MIN_WORDS = 3
"""Shorter texts tell nothing of what was asked for."""
WORDS = frozenset({"text", "words", "question", "options"})
"""Fields of what hooks are given that have what people typed."""
Hook = tuple[Callable[..., Any], tuple[str, ...]]
"""A function, and the arguments that it names."""


class HookFailed(Exception):
    """A hook has no effect. `reason`: a sentence of `bot.problem_texts.plugin_problems`."""

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(f"{plugin}: {reason}")
        self.plugin = plugin
        self.reason = reason


@dataclass(eq=False, kw_only=True)
class HookRunner:
    """`on_problem` is told what went wrong last, in English; `on_hung` that the plugin must be switched off."""

    name: str
    limit_s: float
    on_problem: Callable[[str], None] = lambda _problem: None
    on_hung: Callable[[], None] = lambda: None

    is_closed: bool = False
    _timeouts: int = 0
    _hanging: int = 0
    """Threads whose hook took too long and that have not ended."""
    _threads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_THREADS))
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def call(self, hook_name: str, hook: Hook, arguments: Mapping[str, Any], *, limit_s: float = 0) -> Any:
        """What the hook returns. Raises: HookFailed, Refusal."""
        limit_s = limit_s or self.limit_s
        if self.is_closed:
            raise HookFailed(self.name, STOPPED)
        function, names = hook
        used, began = {name: arguments[name] for name in names}, asyncio.Event()
        task = asyncio.create_task(self._invoke(function, used, began))
        self._tasks.add(task)
        task.add_done_callback(self._end)
        try:
            done, _ = await asyncio.wait({task}, timeout=limit_s)
        except asyncio.CancelledError:
            task.cancel(LEFT)
            raise
        if not done:
            task.cancel()
            raise self._time_out(hook_name, limit_s, has_begun=began.is_set())
        return self._result(hook_name, task, used)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may wait for it any more

    def _result(self, hook_name: str, task: asyncio.Task[Any], used: Mapping[str, Any]) -> Any:
        if task.cancelled():
            if not self.is_closed:
                self.report(f"{hook_name} was cancelled.")
            raise HookFailed(self.name, STOPPED if self.is_closed else FAILED)
        error = task.exception()
        if isinstance(error, Refusal):
            raise error
        if error is not None:
            shown = without_words(error_line(error), used)[:MAX_PROBLEM]
            frames = "".join(traceback.format_tb(error.__traceback__))[-MAX_FRAMES:]
            names = {"plugin": self.name, "hook": hook_name}
            log.error("a plugin's hook failed", action="hook_failed", error=shown, frames=frames, **names)
            self.on_problem(f"{hook_name}: {shown}")
            raise HookFailed(self.name, FAILED) from error
        self._timeouts = 0
        return task.result()

    def _time_out(self, hook_name: str, limit_s: float, *, has_begun: bool) -> HookFailed:
        """One that has not begun waited for others, of which there may just be many."""
        log.error(
            "a plugin's hook takes too long", action="hook_timeout", plugin=self.name, hook=hook_name, limit_s=limit_s
        )
        if has_begun:
            self.on_problem(f"{hook_name} took longer than {limit_s:g} s.")
            self._timeouts += 1
        if self._timeouts >= MAX_TIMEOUTS or self._hanging >= MAX_THREADS:
            self.on_hung()
        return HookFailed(self.name, TOO_LONG)

    def report(self, problem: str) -> None:
        log.error("a plugin's hook is wrong", action="hook_unusable", plugin=self.name, problem=problem)
        self.on_problem(problem)

    def close(self) -> None:
        """End what runs; a hook that waits for it gets HookFailed."""
        self.is_closed = True
        for task in list(self._tasks):
            task.cancel()

    async def _invoke(self, function: Callable[..., Any], arguments: Mapping[str, Any], began: asyncio.Event) -> Any:
        if inspect.iscoroutinefunction(function):
            began.set()
            made = function(**arguments)
        else:
            await self._threads.acquire()
            began.set()
            made = await self._run_in_thread(function, arguments)
        try:
            return await made if isinstance(made, Awaitable) else made
        except (SystemExit, KeyboardInterrupt) as error:  # from a plugin, it must not end the server
            raise _as_exception(error) from error

    async def _run_in_thread(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        ended: asyncio.Future[Any] = loop.create_future()

        is_settled = is_hanging = False

        def settle(result: Any, error: BaseException | None) -> None:
            nonlocal is_settled
            if is_settled:
                return
            is_settled = True
            self._threads.release()
            self._hanging -= is_hanging
            if ended.done():  # nobody waits any more
                return
            if error is None:
                ended.set_result(result)
            else:
                is_allowed = isinstance(error, Exception) and not isinstance(error, StopIteration)
                ended.set_exception(error if is_allowed else _as_exception(error))

        thread = HookThread(self.name, lambda: context.run(function, **arguments), partial(_call_soon, loop, settle))
        thread.start()
        try:
            return await ended
        except asyncio.CancelledError as cancelled:
            if not is_settled:  # it may have ended in the same moment
                is_hanging = True
                self._hanging += 1
            loop.call_later(self.limit_s if LEFT in cancelled.args else 0, thread.interrupt)
            raise


def _call_soon(loop: asyncio.AbstractEventLoop, settle: Callable[..., None], *outcome: Any) -> None:
    with suppress(RuntimeError):  # the server has stopped meanwhile
        loop.call_soon_threadsafe(settle, *outcome)


def _as_exception(error: BaseException) -> Exception:
    """For what neither a task nor a future can end with."""
    return RuntimeError(error_line(error)).with_traceback(error.__traceback__)


def without_words(text: str, arguments: Mapping[str, Any]) -> str:
    """An error's text for logs and admins, without what people typed."""
    for words in sorted(set(_texts_in(arguments.values())), key=len, reverse=True):
        text = text.replace(words, "[...]")
    return text


def _texts_in(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield from (value,) if len(value) > MIN_WORDS else ()
        elif isinstance(value, Mapping):
            yield from _texts_in(value.values())
        elif isinstance(value, AnswerText | ChatMessage | CommandCall | DeliveredJob | PendingRequest | PromptText):
            yield from _texts_in(text for name, text in vars(value).items() if name in WORDS)
