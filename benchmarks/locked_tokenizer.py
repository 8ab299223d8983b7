"""A tokenizer that several threads may share."""

import threading
from collections.abc import Callable
from typing import Any


class LockedTokenizer:
    """A tokenizer that one thread uses at a time.

    Fast tokenizers are not safe to share: a call sets their padding and truncation, and whatever another thread does
    with them meanwhile, such as the `tokenize` of a pipeline that looks for textual inversions, fails.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.RLock()

    def __call__(self, *args: Any, **named: Any) -> Any:
        with self._lock:
            return self._tokenizer(*args, **named)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._tokenizer, name)
        return self._locked(value) if callable(value) else value

    def _locked(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            with self._lock:
                return method(*args, **named)

        return call
