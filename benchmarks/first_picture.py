"""Time from server start to the page, to readiness and to the first image, and of one `easel imagine`.

The peer is the shortest Diffusers script for the same image. It stores nothing, serves no one and encodes in the same
process, so it should be faster; the ratio is the overhead of the server.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.figures import compare, record
from benchmarks.machine import ROOT
from benchmarks.server import LIMIT_S, ServerProcess, http_get, post_job, start_server

MODEL = ROOT / "models" / "starter-image"
PEER = "a plain script"
POLL_S = 0.1
"""Between looks at the job, which cost the server time."""
PROMPT = "a red circle on a blue background"

SCRIPT = f"""
import sys
import torch
from diffusers import AutoPipelineForText2Image
pipeline = AutoPipelineForText2Image.from_pretrained({str(MODEL)!r}, dtype=torch.float32)
pipeline({PROMPT!r}, num_inference_steps=12, guidance_scale=2.5, height=128, width=128).images[0].save(sys.argv[1])
"""


def run_benchmark(repeats: int = 3, quick: bool = False) -> dict[str, Any]:
    """All three alternately; medians, seconds. `quick`: once."""
    repeats = 1 if quick else repeats
    runs = [_time_server() | {"imagine_s": _time_imagine(), "peer_s": _time_peer()} for _ in range(repeats)]
    figures: dict[str, Any] = {"repeats": repeats, "prompt": PROMPT}
    for name in runs[0]:
        figures[name] = round(statistics.median(run[name] for run in runs), 2)
    figures["ratio_serve"] = round(figures["image_s"] / figures["peer_s"], 2)
    figures["ratio_imagine"] = round(figures["imagine_s"] / figures["peer_s"], 2)
    rows = [
        compare("server started, first image, s", figures["image_s"], figures["peer_s"], PEER, goal=1.0),
        compare("easel imagine, s", figures["imagine_s"], figures["peer_s"], PEER),
    ]
    return record(rows, **figures)


def summarize(figures: dict[str, Any]) -> str:
    return (
        f"page after {figures['page_s']} s, ready {figures['ready_s']} s, first image {figures['image_s']} s, "
        f"second image {figures['second_image_s']} s after its request; one-shot imagine {figures['imagine_s']} s; "
        f"a plain Diffusers script {figures['peer_s']} s, so {figures['ratio_serve']} and {figures['ratio_imagine']}"
        " times it"
    )


def _time_server() -> dict[str, float]:
    started = time.perf_counter()
    with start_server() as server:
        url = server.url()
        server.wait_until(lambda: http_get(url))
        page_s = time.perf_counter() - started
        server.wait_until(lambda: http_get(f"{url}/readyz"))
        ready_s = time.perf_counter() - started
        _generate_image(url, server)
        image_s = time.perf_counter() - started
        second_started = time.perf_counter()
        _generate_image(url, server)
        return {
            "page_s": page_s,
            "ready_s": ready_s,
            "image_s": image_s,
            "second_image_s": time.perf_counter() - second_started,
        }


def _generate_image(url: str, server: ServerProcess) -> None:
    job_id = post_job(url, "imagine", {"prompt": PROMPT})
    job = server.wait_until(lambda: _finished_job(url, job_id), POLL_S)
    assert job["state"] == "delivered", job
    assert http_get(url + job["result"]["media"][0]["url"])


def _finished_job(url: str, job_id: str) -> Any:
    job = json.loads(http_get(f"{url}/api/v1/jobs/{job_id}") or "{}")
    return job if job.get("finished_at") else None


def _time_imagine() -> float:
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        environ = {**os.environ, "EASEL_DATA_DIR": folder}
        return _run_seconds([sys.executable, str(ROOT / "main.py"), "imagine", PROMPT], folder, environ)


def _time_peer() -> float:
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        return _run_seconds([sys.executable, "-c", SCRIPT, "image.png"], folder, {**os.environ, "HF_HUB_OFFLINE": "1"})


def _run_seconds(command: list[str], folder: str, environ: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=True, timeout=LIMIT_S)
    return time.perf_counter() - started


if __name__ == "__main__":
    print(summarize(run_benchmark()))
