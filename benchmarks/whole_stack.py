"""What queue, accounting, fsync and REST cost: `python -m benchmarks.whole_stack [--quick]`.

All wishes are posted at once to a real server, and the clock stops when the last one is stored and accounted for. The
peer is the bare engine in a process of its own: it makes the same pictures and stops at their pixels.
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
from benchmarks.arena import THREADS
from benchmarks.figures import compare
from benchmarks.machine import ROOT
from benchmarks.server import Server, get, post_job, serving
from benchmarks.shapes import OVERHEAD
from benchmarks.workload import Wish

GOAL = 0.9
MODEL = "starter-image"
SETTINGS = {
    "EASEL_QUEUE__MAX_RUNNING": "64",  # all are one person's, the local one's
    "EASEL_POOL__THREADS": str(THREADS),
    "EASEL_POOL__NICENESS": "0",
    "EASEL_MODELS__STARTER_IMAGE__DTYPE": "float32",
}
sentence = figures.told


def run(quick: bool = False) -> dict[str, Any]:
    number, repeats = (10, 1) if quick else (32, 3)
    with serving(**SETTINGS) as server, _bare() as bare:
        url = server.url()
        _ours(server, url, workload.chat(3, 0, OVERHEAD.size))
        ours, peer = [], []
        for seed in range(repeats):
            wishes = workload.chat(number, seed, OVERHEAD.size)
            ours.append(number / _ours(server, url, wishes))
            peer.append(number / _asked(bare, wishes))
    row = compare(
        "chat mix, all at once, pictures a second",
        figures.percentile(ours, 0.5),
        figures.percentile(peer, 0.5),
        "bare engine",
        goal=GOAL,
        more_is_better=True,
    )
    return figures.record([row], repeats=repeats, wishes=number)


# ---------------------------------------------------------------- through REST


def _ours(server: Server, url: str, wishes: Sequence[Wish]) -> float:
    """Seconds from the first request to the last result."""
    began = time.time()
    ids = {post_job(url, "imagine", _options(wish)) for wish in wishes}
    jobs = server.until(lambda: _ended(url, ids), every_s=0.2)
    assert all(job["state"] == "delivered" for job in jobs), jobs
    return max(datetime.fromisoformat(job["finished_at"]).timestamp() for job in jobs) - began


def _options(wish: Wish) -> dict[str, Any]:
    return {
        "prompt": wish.prompt,
        "seed": wish.seed,
        "steps": wish.steps,
        "guidance_scale": wish.guidance,
        "sampler": wish.sampler,
        "width": wish.width,
        "height": wish.height,
        "model": MODEL,
    }


def _ended(url: str, ids: set[str]) -> list[dict[str, Any]]:
    """The jobs, once all of them have ended."""
    newest = json.loads(get(f"{url}/api/v1/jobs?limit=100") or '{"jobs": []}')["jobs"]
    ended = [job for job in newest if job["id"] in ids and job["finished_at"]]
    return ended if len(ended) == len(ids) else []


# ---------------------------------------------------------------- the engine alone, in its own process


@contextmanager
def _bare() -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.whole_stack", "--bare"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        _asked(process, workload.chat(3, 0, OVERHEAD.size))
        yield process
    finally:
        process.kill()
        process.communicate()


def _asked(bare: "subprocess.Popen[str]", wishes: Sequence[Wish]) -> float:
    assert bare.stdin is not None
    assert bare.stdout is not None
    bare.stdin.write(json.dumps([asdict(wish) for wish in wishes]) + "\n")
    bare.stdin.flush()
    while not (line := bare.stdout.readline()).startswith("seconds "):
        if not line:
            raise RuntimeError("the bare engine ended")
    return float(line.split()[1])


def _serve_bare() -> None:
    import torch

    from bot.models import TEXT_TO_IMAGE, ModelSpec
    from bot.ports import Task
    from inference.engine.base import build

    torch.set_num_threads(THREADS or torch.get_num_threads())
    model = ModelSpec(name=MODEL, tasks=(TEXT_TO_IMAGE,), repo=str(OVERHEAD.folder), dtype="float32")
    engine = build(model)
    engine.load("cpu")
    for line in sys.stdin:
        tasks = [
            Task(
                id=f"job{wish.number}",
                command="imagine",
                task=TEXT_TO_IMAGE,
                model=model,
                options=_options(wish) | {"negative_prompt": "", "count": 1},
            )
            for wish in (Wish(**fields) for fields in json.loads(line))
        ]
        print("seconds", _driven(engine, deque(tasks)), flush=True)


def _driven(engine: Any, waiting: "deque[Any]") -> float:
    from inference.engine.base import Over

    began, under_way = time.perf_counter(), 0
    while waiting or under_way:
        while waiting and engine.free_rows > 0:
            engine.admit(waiting.popleft())
            under_way += 1
        under_way -= sum(isinstance(event, Over) for event in engine.step())
    return time.perf_counter() - began


if __name__ == "__main__":
    if "--bare" in sys.argv:
        _serve_bare()
    else:
        figures.main(run, sentence)
