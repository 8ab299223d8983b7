"""How long from the start to the page, to readiness and to the first picture, and of one `easel imagine`.

The peer is the shortest script that makes the same picture with Diffusers. It keeps nothing, serves nobody and encodes
in the same process, so it should be quicker; the ratio is what the house costs.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.server import LIMIT_S, Server, get, post_job, serving

MODEL = ROOT / "models" / "starter-image"
PROMPT = "a red circle on a blue background"

SCRIPT = f"""
import sys
import torch
from diffusers import AutoPipelineForText2Image
pipeline = AutoPipelineForText2Image.from_pretrained({str(MODEL)!r}, dtype=torch.float32)
pipeline({PROMPT!r}, num_inference_steps=12, guidance_scale=2.5, height=128, width=128).images[0].save(sys.argv[1])
"""


def run(repeats: int = 3) -> dict[str, Any]:
    """All three, in turns; medians, seconds."""
    runs = [_serve() | {"imagine_s": _imagine(), "peer_s": _peer()} for _ in range(repeats)]
    figures: dict[str, Any] = {"repeats": repeats, "prompt": PROMPT}
    for name in runs[0]:
        figures[name] = round(statistics.median(one[name] for one in runs), 2)
    figures["ratio_serve"] = round(figures["picture_s"] / figures["peer_s"], 2)
    figures["ratio_imagine"] = round(figures["imagine_s"] / figures["peer_s"], 2)
    return figures


def sentence(figures: dict[str, Any]) -> str:
    return (
        f"page after {figures['page_s']} s, ready {figures['ready_s']} s, first picture {figures['picture_s']} s, "
        f"second {figures['second_picture_s']} s after it was asked for; one-shot imagine {figures['imagine_s']} s; "
        f"a plain Diffusers script {figures['peer_s']} s, so {figures['ratio_serve']} and {figures['ratio_imagine']}"
        " times it"
    )


def _serve() -> dict[str, float]:
    began = time.perf_counter()
    with serving() as server:
        url = server.url()
        server.until(lambda: get(url))
        page_s = time.perf_counter() - began
        server.until(lambda: get(f"{url}/readyz"))
        ready_s = time.perf_counter() - began
        _picture(url, server)
        picture_s = time.perf_counter() - began
        again = time.perf_counter()
        _picture(url, server)
        return {
            "page_s": page_s,
            "ready_s": ready_s,
            "picture_s": picture_s,
            "second_picture_s": time.perf_counter() - again,
        }


def _picture(url: str, server: Server) -> None:
    job_id = post_job(url, "imagine", {"prompt": PROMPT})
    job = server.until(lambda: _ended(url, job_id))
    assert job["state"] == "delivered", job
    assert get(url + job["result"]["media"][0]["url"])


def _ended(url: str, job_id: str) -> Any:
    job = json.loads(get(f"{url}/api/v1/jobs/{job_id}") or "{}")
    return job if job.get("finished_at") else None


def _imagine() -> float:
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        environ = {**os.environ, "EASEL_DATA_DIR": folder}
        return _seconds([sys.executable, str(ROOT / "main.py"), "imagine", PROMPT], folder, environ)


def _peer() -> float:
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        return _seconds([sys.executable, "-c", SCRIPT, "picture.png"], folder, {**os.environ, "HF_HUB_OFFLINE": "1"})


def _seconds(command: list[str], folder: str, environ: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=True, timeout=LIMIT_S)
    return time.perf_counter() - began


if __name__ == "__main__":
    print(sentence(run()))
