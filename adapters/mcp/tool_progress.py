"""Progress of the jobs of one call as numbers that only grow, with a sentence."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from adapters.mcp.tool_backend import Body
from adapters.web.progress_lines import format_job_progress

Send = Callable[[float, float | None, str], Awaitable[None]]
"""Sends progress, the total if it is known, and the sentence."""
_TICK = 0.001
"""Progress while nothing can be counted: the protocol has it grow with each notification."""


@dataclass
class ProgressReporter:
    send: Send
    _last: float = field(default=0.0, init=False)

    async def report(self, jobs: Iterable[Body]) -> None:
        """`jobs`: the latest body of each."""
        open_jobs = [job for job in jobs if job["progress"] is not None]
        steps = [(job["progress"]["step"], job["progress"]["steps"]) for job in open_jobs]
        if not open_jobs:
            return
        total = float(sum(of_all for _, of_all in steps)) if all(of_all for _, of_all in steps) else None
        done = float(sum(step for step, _ in steps))
        self._last = done if done > self._last else self._last + _TICK
        await self.send(self._last, total if total and total >= self._last else None, format_job_progress(open_jobs[0]))
