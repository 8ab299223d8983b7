"""The calls that are under way, by the key of their caller: progress and interrupts concern nobody else's."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class RunningCall:
    """`is_interrupted`, `is_skipped`: its caller has asked for that."""

    job_ids: Sequence[str]
    is_interrupted: bool = False
    is_skipped: bool = False


@dataclass
class RunningCalls:
    _by_key: defaultdict[str, list[RunningCall]] = field(default_factory=lambda: defaultdict(list))

    @contextmanager
    def track(self, key: str, job_ids: Sequence[str]) -> Iterator[RunningCall]:
        call = RunningCall(job_ids)
        self._by_key[key].append(call)
        try:
            yield call
        finally:
            self._by_key[key].remove(call)
            if not self._by_key[key]:
                del self._by_key[key]

    def list_calls(self, key: str) -> list[RunningCall]:
        """The oldest first."""
        return list(self._by_key.get(key, ()))
