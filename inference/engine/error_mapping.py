"""Gives every exception that an engine lets out its place in Easel's error tree. Imports no torch."""

from collections.abc import Iterable

from bot.errors import EaselError, EngineError, ModelUnavailable, OutOfMemory
from bot.ports import Task
from inference.ipc.child import trace

_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
_DETAIL_LIMIT = 8000


def is_out_of_memory(error: BaseException) -> bool:
    """Also torch's own: `torch.OutOfMemoryError`, and RuntimeErrors of the CPU's and older allocators."""
    if isinstance(error, MemoryError | OutOfMemory):
        return True
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError | OSError) and any(words in str(error).lower() for words in _MEMORY_WORDS)


def task_fault(error: BaseException, task: Task) -> EaselError:
    """The error that ends a task, with the traceback but without the person's words."""
    if isinstance(error, EaselError):
        return error
    detail = scrub(trace(error), _words(task))
    return OutOfMemory(detail) if is_out_of_memory(error) else EngineError(detail)


def load_fault(error: BaseException, model: str) -> EaselError:
    """The error that ends every task of a model which cannot be loaded."""
    if isinstance(error, EaselError):
        return error
    detail = trace(error)[-_DETAIL_LIMIT:]
    return OutOfMemory(detail) if is_out_of_memory(error) else ModelUnavailable(model, detail)


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The end of `text` with every one of `secrets` replaced."""
    for secret in secrets:
        text = text.replace(secret, "[...]").replace(repr(secret)[1:-1], "[...]")
    return text[-_DETAIL_LIMIT:]


def _words(task: Task) -> list[str]:
    free = ("prompt", "negative_prompt", "question", "text", "texts")
    texts = (task.options.get(name) for name in free)
    return sorted((t for t in texts if isinstance(t, str) and len(t) > 3), key=len, reverse=True)
