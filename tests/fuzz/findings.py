"""What one part of the fuzzing did and found."""

import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from tests.fuzz.target import FuzzTarget

MAX_FAULT = 3000


@dataclass
class Findings:
    """`faults` are what must not happen; `statuses` what was answered, by status or by kind."""

    cases: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: str = ""

    def count(self, status: object, case: object, seconds: float = 0.0) -> None:
        self.cases += 1
        self.statuses[str(status)] += 1
        if seconds > self.slowest_s:
            self.slowest_s, self.slowest = seconds, repr(case)[:120]

    def expect(self, holds: bool, fault: str) -> None:
        if not holds:
            self.faults.append(fault[:MAX_FAULT])


async def run_part(target: FuzzTarget, part: Callable[[FuzzTarget, Findings], Coroutine[None, None, None]]) -> Findings:
    """Run it, and add what the server logged and answered meanwhile to its faults."""
    findings, began, before = Findings(), len(target.recorder.errors), await target.count_server_errors()
    await part(target, findings)
    after = await target.count_server_errors()
    findings.faults += [f"{what} ({n})" for what, n in after.items() if n > before.get(what, 0)]
    findings.faults += [f"unhandled: {error}" for error in target.recorder.errors[began:]]
    return findings


def describe(name: str, findings: Findings, seconds: float) -> str:
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(findings.statuses.items()))
    slowest = f"; slowest {findings.slowest_s * 1000:.0f} ms: {findings.slowest}" if findings.slowest_s else ""
    verdict = "no fault" if not findings.faults else f"{len(findings.faults)} FAULTS"
    return f"{name}: {findings.cases} cases in {seconds:.0f} s, {verdict} ({answers}{slowest})"


class Stopwatch:
    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began
