"""Maps every exception that an engine raises to one of Easel's errors. Imports no torch."""

from collections.abc import Iterable, Iterator, Mapping

from bot.errors import EaselError, EngineError, ModelUnavailable, OutOfMemory
from bot.ports import Task
from inference.ipc.child import format_traceback

_OUT_OF_MEMORY_MESSAGES = (
    *("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory"),
    *("bad_alloc", "failed to allocate memory"),  # OpenVINO and ONNX Runtime
)
_DETAIL_LIMIT = 8000


def is_out_of_memory(error: BaseException) -> bool:
    """Includes `torch.OutOfMemoryError` and the RuntimeErrors of the CPU allocator and of older allocators."""
    if isinstance(error, MemoryError | OutOfMemory):
        return True
    if any(cls.__name__ == "OutOfMemoryError" for cls in type(error).__mro__):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(part in message for part in _OUT_OF_MEMORY_MESSAGES)


def to_task_error(error: BaseException, task: Task) -> EaselError:
    """The error that ends a task, with the traceback but without the person's text."""
    if isinstance(error, EaselError):
        return error
    detail = redact(format_traceback(error), prompt_texts(task))
    return OutOfMemory(detail) if is_out_of_memory(error) else EngineError(detail)


def to_load_error(error: BaseException, model: str) -> EaselError:
    """The error that ends every task of a model that cannot be loaded."""
    if isinstance(error, EaselError):
        return error
    detail = format_traceback(error)[-_DETAIL_LIMIT:]
    return OutOfMemory(detail) if is_out_of_memory(error) else ModelUnavailable(model, detail)


def redact(text: str, secrets: Iterable[str]) -> str:
    """The end of `text`, with each of `secrets` replaced."""
    for secret in secrets:
        text = text.replace(secret, "[...]").replace(repr(secret)[1:-1], "[...]")
    return text[-_DETAIL_LIMIT:]


def prompt_texts(task: Task) -> list[str]:
    """The person's words, the longest first."""
    names = (
        *("prompt", "prompts", "unenhanced", "before_plugins", "negative_prompt", "question", "thread"),
        *("text", "texts", "region", "detail"),
    )
    texts = _texts_in([task.options.get(name) for name in names])
    return sorted((text for text in texts if len(text) > 3), key=len, reverse=True)


def _texts_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts_in(part)
