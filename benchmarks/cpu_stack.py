"""Images per second of one stream of requests, with compiled denoisers: `python -m benchmarks.cpu_stack [--quick]`.

Easel on torch, OpenVINO and ONNX Runtime, against Diffusers behind a lock, all of them running and taking turns. The
record also has what each build's own trial measured: times torch's speed by rows, and how far its images are off.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from benchmarks import compiled_builds, figures, ours, peers, workload
from benchmarks.arena import Arena
from benchmarks.compute_threads import measure_each
from benchmarks.figures import Comparison, compare
from benchmarks.machine import has_amx
from benchmarks.shapes import OVERHEAD, ModelShape, compute_bound_shape
from benchmarks.stream import run_stream


@dataclass(frozen=True, kw_only=True)
class ComputeStack:
    """One of our sides.

    Attributes:
        goals: times a lock's rate, on the starter and on the medium shape; none: it has no goal.
    """

    title: str
    backend: Literal["torch", "openvino", "onnx"]
    precision: str = "float32"
    goals: tuple[float, ...] = ()

    @property
    def problem(self) -> str:
        """Why it does not run here; empty: it does."""
        from inference.backends.builds import library_version

        if self.precision == "bfloat16" and not has_amx():
            return "the processor has no AMX"
        if self.backend != "torch" and not library_version(self.backend):
            return f"{self.backend} is not installed"
        return ""


STACKS = (
    ComputeStack(title="Easel", backend="torch"),
    ComputeStack(title="Easel, OpenVINO float32", backend="openvino", goals=(2.4, 1.3)),
    ComputeStack(title="Easel, OpenVINO bfloat16", backend="openvino", precision="bfloat16", goals=(4.0, 1.6)),
    ComputeStack(title="Easel, ONNX Runtime float32", backend="onnx"),
)
summarize_rows = figures.summarize_rows


def run_benchmark(quick: bool = False) -> dict[str, Any]:
    repeats = 1 if quick else 3
    stacks = [stack for stack in STACKS if not stack.problem]
    not_run = {stack.title: stack.problem for stack in STACKS if stack.problem}
    with compiled_builds.scratch_data_dir():
        measured = [_measure_shape(OVERHEAD, stacks, 8 if quick else 24, repeats)]
        if not quick:
            with compute_bound_shape() as shape:
                measured.append(_measure_shape(shape, stacks, 8, repeats))
    rows = [row for one in measured for row in one["rows"]]
    return {**measured[0], "rows": rows, "builds": [one["builds"] for one in measured], "not_run": not_run}


def summarize(record: Mapping[str, Any]) -> str:
    not_run = [f"  {title}: not run: {problem}" for title, problem in record["not_run"].items()]
    return "\n".join([summarize_rows(record), *not_run])


def _measure_shape(shape: ModelShape, stacks: Sequence[ComputeStack], count: int, repeats: int) -> dict[str, Any]:
    reports = {
        stack.title: compiled_builds.make_build(shape, stack.backend, stack.precision)
        for stack in stacks
        if stack.backend != "torch"
    }

    def measure(threads: int) -> dict[str, Any]:
        return figures.record(asyncio.run(_compare(shape, stacks, count, repeats, threads)), repeats=repeats)

    return {**measure_each(measure), "builds": {"shape": shape.name, **reports}}


async def _compare(
    shape: ModelShape, stacks: Sequence[ComputeStack], count: int, repeats: int, threads: int
) -> list[Comparison]:
    async with _open_arena(shape, stacks, threads) as arena:
        make_requests = partial(workload.all_different, count, size=shape.size)
        results = await arena.run_alternating(make_requests, repeats)
    rate = {name: figures.percentile([run.images_per_s for run in runs], 0.5) for name, runs in results.items()}
    lock = peers.LOCK.name
    return [
        compare(
            f"{shape.name}, {stack.title}, images per second",
            rate[stack.title],
            rate[lock],
            lock,
            goal=stack.goals[shape.is_compute_bound] if stack.goals else None,
            more_is_better=True,
        )
        for stack in stacks
    ]


@asynccontextmanager
async def _open_arena(shape: ModelShape, stacks: Sequence[ComputeStack], threads: int) -> AsyncIterator[Arena]:
    """The lock and our sides, one after another, warmed up by a few images.

    Raises: RuntimeError: a worker serves on something else than its backend.
    """
    async with AsyncExitStack() as stack_of_sides:
        lock = await stack_of_sides.enter_async_context(peers.start_peer(peers.LOCK, shape, threads))
        contenders = {lock.name: lock}
        await run_stream(lock, workload.chat_mix(3, 0, shape.size))
        for stack in stacks:
            model = ours.model_of(shape, backend=stack.backend, dtype=stack.precision)
            pool = ours.start_pool(shape, threads, model=model, name=stack.title)
            contender = await stack_of_sides.enter_async_context(pool)
            await run_stream(contender, workload.chat_mix(6, 0, shape.size))
            if contender.capabilities.get("backend") != stack.backend:
                raise RuntimeError(f"{stack.title} runs on something else: {dict(contender.capabilities)}")
            contenders[contender.name] = contender
        yield Arena(shape, contenders, threads)


if __name__ == "__main__":
    figures.run_cli(run_benchmark, summarize)
