"""A 4x4 grid of steps and guidance on the shipped starter: `python -m benchmarks.grid [--quick]`.

Against the same sixteen requests one after another, by the same server. The grid's clock stops when its labelled sheet
can be read. Every cell of both has a seed of its own run, so neither finds anything of the other's.
"""

import json
import statistics
import time
import urllib.request
from datetime import datetime
from functools import partial
from itertools import product
from typing import Any

from benchmarks import figures
from benchmarks.compute_threads import measure_each
from benchmarks.figures import compare
from benchmarks.server import ServerProcess, http_get, post_job, start_server

GOAL = 1 / 0.6
"""The grid takes at most 0.6 of the time."""
MODEL = "starter-image"
PROMPT = "a red circle on a blue background"
STEPS, GUIDANCE = (4, 8, 12, 16), (1.0, 2.5, 5.0, 7.5)
SETTINGS = {"EASEL_POOL__NICE": "0"}
POLL_S = 0.02
GRID_POLL_S = 0.2
"""A batch is a long answer: reading it often takes time from the worker."""
summarize = figures.summarize_rows


def run_benchmark(quick: bool = False) -> dict[str, Any]:
    return measure_each(lambda threads: _measure(quick, threads))


def _measure(quick: bool, threads: int) -> dict[str, Any]:
    repeats = 1 if quick else 5
    with start_server(**SETTINGS, EASEL_POOL__THREADS=str(threads)) as server:
        url = server.url()
        _run_one_after_another(server, url, seed=1_000)
        _run_grid(server, url, seed=2_000)
        runs = [
            (_run_grid(server, url, seed=number), _run_one_after_another(server, url, seed=number + 100))
            for number in range(repeats)
        ]
    grid_s, alone_s = (statistics.median(values) for values in zip(*runs, strict=True))
    row = compare(
        "4x4 grid of steps and guidance with its sheet, seconds",
        grid_s,
        alone_s,
        "sixteen requests one after another",
        goal=GOAL,
    )
    return figures.record([row], repeats=repeats)


def _options(seed: int) -> dict[str, Any]:
    return {"prompt": PROMPT, "model": MODEL, "seed": seed}


def _run_grid(server: ServerProcess, url: str, seed: int) -> float:
    """Seconds from the quote to the sheet."""
    axes = {"x": {"option": "steps", "values": STEPS}, "y": {"option": "guidance_scale", "values": GUIDANCE}}
    body = {"command": "grid", "options": {**_options(seed), **axes}}
    started = time.perf_counter()
    quote = _post(url, "quotes", body)["quote"]
    batch = _post(url, "jobs", {**body, "quote": quote})["batch"]
    path = f"{url}/api/v1/batches/{batch}"
    sheet = server.wait_until(lambda: json.loads(http_get(path) or "{}").get("sheet"), GRID_POLL_S)
    assert http_get(f"{url}/api/v1/media/{sheet}")
    return time.perf_counter() - started


def _run_one_after_another(server: ServerProcess, url: str, seed: int) -> float:
    """Seconds from the first request to the end of the last."""
    started = time.time()
    ended = started
    for steps, guidance in product(STEPS, GUIDANCE):
        job_id = post_job(url, "imagine", {**_options(seed), "steps": steps, "guidance_scale": guidance})
        ended = server.wait_until(partial(_finished_at, url, job_id), POLL_S)
    return ended - started


def _finished_at(url: str, job_id: str) -> float:
    """Epoch seconds; 0: it has not finished."""
    job = json.loads(http_get(f"{url}/api/v1/jobs/{job_id}") or "{}")
    if not job.get("finished_at"):
        return 0.0
    assert job["state"] == "delivered", job
    return datetime.fromisoformat(job["finished_at"]).timestamp()


def _post(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/api/v1/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        content: dict[str, Any] = json.load(response)
        return content


if __name__ == "__main__":
    figures.run_cli(run_benchmark, summarize)
