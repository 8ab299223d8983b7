"""The overhead of queue, accounting, fsync and REST: `python -m benchmarks.whole_stack [--quick]`.

All requests are posted at the same time to a real server, and the clock stops when the last one is stored and accounted
for. The peer is the bare engine in a separate process: it generates the same images and stops at their pixels.
"""

import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

from benchmarks import figures, workload
from benchmarks.compute_threads import measure_each
from benchmarks.figures import compare
from benchmarks.machine import ROOT
from benchmarks.server import ServerProcess, http_get, post_job, start_server
from benchmarks.shapes import OVERHEAD
from benchmarks.workload import ImageRequest

GOAL = 0.9
MODEL = "starter-image"
SETTINGS = {
    "EASEL_QUEUE__MAX_RUNNING": "64",  # all belong to the local person
    "EASEL_POOL__NICE": "0",
    "EASEL_MODELS__STARTER_IMAGE__DTYPE": "float32",
}
summarize = figures.summarize_rows


def run_benchmark(quick: bool = False) -> dict[str, Any]:
    return measure_each(lambda threads: _measure(quick, threads))


def _measure(quick: bool, threads: int) -> dict[str, Any]:
    number, repeats = (10, 1) if quick else (32, 3)
    settings = {**SETTINGS, "EASEL_POOL__THREADS": str(threads)}
    with start_server(**settings) as server, _start_bare_engine(threads) as bare:
        url = server.url()
        _run_ours(server, url, workload.chat_mix(3, 0, OVERHEAD.size))
        ours, peer = [], []
        for seed in range(repeats):
            requests = workload.chat_mix(number, seed, OVERHEAD.size)
            ours.append(number / _run_ours(server, url, requests))
            peer.append(number / _run_bare(bare, requests))
    row = compare(
        "chat mix, all concurrent, images per second",
        figures.percentile(ours, 0.5),
        figures.percentile(peer, 0.5),
        "bare engine",
        goal=GOAL,
        more_is_better=True,
    )
    return figures.record([row], repeats=repeats, requests=number)


# ---------------------------------------------------------------- through REST


def _run_ours(server: ServerProcess, url: str, requests: Sequence[ImageRequest]) -> float:
    """Seconds from the first request to the last finished job."""
    started = time.time()
    ids = {post_job(url, "imagine", _options(request)) for request in requests}
    jobs = server.wait_until(lambda: _finished_jobs(url, ids), every_s=0.2)
    assert all(job["state"] == "delivered" for job in jobs), jobs
    return max(datetime.fromisoformat(job["finished_at"]).timestamp() for job in jobs) - started


def _options(request: ImageRequest) -> dict[str, Any]:
    return {
        "prompt": request.prompt,
        "seed": request.seed,
        "steps": request.steps,
        "guidance_scale": request.guidance,
        "sampler": request.sampler,
        "width": request.width,
        "height": request.height,
        "model": MODEL,
    }


def _finished_jobs(url: str, ids: set[str]) -> list[dict[str, Any]]:
    """The jobs, once all of them have finished."""
    newest = json.loads(http_get(f"{url}/api/v1/jobs?limit=100") or '{"jobs": []}')["jobs"]
    ended = [job for job in newest if job["id"] in ids and job["finished_at"]]
    return ended if len(ended) == len(ids) else []


# ---------------------------------------------------------------- the engine alone, in its own process


@contextmanager
def _start_bare_engine(threads: int) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.whole_stack", "--bare", str(threads)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        _run_bare(process, workload.chat_mix(3, 0, OVERHEAD.size))
        yield process
    finally:
        process.kill()
        process.communicate()


def _run_bare(bare: "subprocess.Popen[str]", requests: Sequence[ImageRequest]) -> float:
    assert bare.stdin is not None
    assert bare.stdout is not None
    bare.stdin.write(json.dumps([asdict(request) for request in requests]) + "\n")
    bare.stdin.flush()
    while not (line := bare.stdout.readline()).startswith("seconds "):
        if not line:
            raise RuntimeError("the bare engine ended")
    return float(line.split()[1])


def _serve_bare(threads: int) -> None:
    import torch

    from bot.models import TEXT_TO_IMAGE, ModelSpec
    from bot.ports import Task
    from inference.engine.base import build_engine

    torch.set_num_threads(threads)
    model = ModelSpec(name=MODEL, tasks=(TEXT_TO_IMAGE,), repo=str(OVERHEAD.folder), dtype="float32")
    engine = build_engine(model)
    engine.load_model("cpu")
    for line in sys.stdin:
        tasks = [
            Task(
                id=f"job{request.number}",
                command="imagine",
                task=TEXT_TO_IMAGE,
                model=model,
                options=_options(request) | {"negative_prompt": "", "count": 1},
            )
            for request in (ImageRequest(**fields) for fields in json.loads(line))
        ]
        print("seconds", _drive_engine(engine, deque(tasks)), flush=True)


def _drive_engine(engine: Any, waiting: "deque[Any]") -> float:
    from inference.engine.base import TaskDone

    started, in_flight = time.perf_counter(), 0
    while waiting or in_flight:
        while waiting and engine.free_slots > 0:
            engine.add_task(waiting.popleft())
            in_flight += 1
        in_flight -= sum(isinstance(event, TaskDone) for event in engine.step())
    return time.perf_counter() - started


if __name__ == "__main__":
    if "--bare" in sys.argv:
        _serve_bare(int(sys.argv[-1]))
    else:
        figures.run_cli(run_benchmark, summarize)
