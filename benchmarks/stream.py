"""Sends a stream of requests to one contender and records when users get something to see."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.figures import percentile
from benchmarks.workload import ImageRequest

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Output:
    """A preview, or the final image file."""

    data: bytes
    is_final: bool


class Contender(Protocol):
    """Ours or a peer, ready for requests."""

    name: str

    def generate(self, request: ImageRequest) -> AsyncIterator[Output]: ...


@dataclass(frozen=True)
class RequestOutcome:
    """Seconds from the request. Without a preview, the final image is the first output."""

    request: ImageRequest
    first_output_s: float
    total_s: float


@dataclass(frozen=True)
class StreamResult:
    outcomes: Sequence[RequestOutcome]
    seconds: float

    @property
    def images_per_s(self) -> float:
        return len(self.outcomes) / self.seconds

    def total_percentile(self, share: float) -> float:
        return percentile([outcome.total_s for outcome in self.outcomes], share)

    def first_output_percentile(self, share: float) -> float:
        return percentile([outcome.first_output_s for outcome in self.outcomes], share)

    def short_jobs_percentile(self, share: float) -> float:
        """Of the four-step jobs only."""
        return percentile([outcome.total_s for outcome in self.outcomes if outcome.request.is_short], share)

    def long_jobs_percentile(self, share: float) -> float:
        return percentile([outcome.total_s for outcome in self.outcomes if not outcome.request.is_short], share)


async def run_stream(contender: Contender, requests: Sequence[ImageRequest]) -> StreamResult:
    """Send each request at its time, whether or not earlier ones have finished."""
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_send_request(contender, request, started + request.at_s)) for request in requests]
    return StreamResult([task.result() for task in tasks], time.perf_counter() - started)


async def meets_deadline(
    contender: Contender, requests: Sequence[ImageRequest], deadline_s: float, share: float
) -> bool:
    """Whether this share of the requests get their first output in time; sends no more once too many are late."""
    started = time.perf_counter()
    allowed = len(requests) - 1 - int(len(requests) * share)
    late = 0

    async def send(request: ImageRequest) -> None:
        nonlocal late
        due = started + request.at_s
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        if late <= allowed:
            outcome = await _send_request(contender, request, due)
            late += outcome.first_output_s > deadline_s

    async with asyncio.TaskGroup() as group:
        for request in requests:
            group.create_task(send(request))
    return late <= allowed


async def _send_request(contender: Contender, request: ImageRequest, due: float) -> RequestOutcome:
    await asyncio.sleep(max(0.0, due - time.perf_counter()))
    first_output_s, file = None, b""
    async for output in contender.generate(request):
        first_output_s = first_output_s or time.perf_counter() - due
        if output.is_final:
            file = output.data
    if not file.startswith(PNG_SIGNATURE) or first_output_s is None:
        raise RuntimeError(f"{contender.name} returned no image for {request}")
    return RequestOutcome(request, first_output_s, time.perf_counter() - due)
