"""Models of real size through the real loader and pool: `python -m benchmarks.full_size [sd15] [blip2]`.

Slow, and not part of `make bench`: it writes 10 GB of random weights in the published layout into a temporary folder
and computes in bfloat16, for minutes without a GPU, and for an hour on CPUs that only emulate bfloat16; there `sd15
--dtype float32` is much faster. BLIP-2 needs about 12 GB of free memory. One request each; there is no peer. Shapes:
Stable Diffusion 1.5 (its denoiser has 860 million parameters), BLIP-2 with OPT-2.7B.
"""

import argparse
import asyncio
import contextlib
import io
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from PIL import Image

from benchmarks.machine import ROOT
from bot.jobs import Media
from bot.models import IMAGE_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.ports import Measurement, Progress, Task, TaskImage, TaskOutput
from inference.images.service import ImageService
from inference.pool.pool import DevicePool, PoolSettings

SIDE, STEPS, TOKENS = 256, 3, 5
LIMIT_S = 3600.0


def run_benchmark(
    names: tuple[str, ...] = ("sd15", "blip2"), device: str = "cpu", threads: int = 0, dtype: str = "bfloat16"
) -> dict[str, Any]:
    """`threads`: 0 for torch's default; 1 on a shared machine, where threads would wait for each other."""
    return {name: {**_measure_model(name, device, threads, dtype), "dtype": dtype} for name in names}


def summarize(figures: dict[str, Any]) -> str:
    return "\n".join(
        f"  {name} in {one['dtype']}: {one['parameters_m']:.0f} million parameters ({one['files_gb']} GB) "
        f"loaded in {one['load_s']} s, peak {one['peak_mb']} MiB, {one['unit']} {one['step_s']} s, "
        f"the request {one['request_s']} s: {one['result']}"
        for name, one in figures.items()
    )


def _measure_model(name: str, device: str, threads: int, dtype: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="easel-full-") as scratch:
        folder = Path(scratch) / name
        command = [sys.executable, "-m", "benchmarks.full_size", "--save", str(folder), name]
        output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        figures = asyncio.run(_run_request(_make_task(name, folder, dtype), device, threads))
        return {"parameters_m": float(output.split()[-1]), "files_gb": round(size / 1e9, 2), **figures}


# ---------------------------------------------------------------- the request


def _make_task(name: str, folder: Path, dtype: str) -> Task:
    if name == "sd15":
        model = ModelSpec(name=name, tasks=(TEXT_TO_IMAGE,), repo=str(folder), dtype=dtype)
        options: dict[str, Any] = {
            "prompt": "a cat on a green background",
            "negative_prompt": "",
            "seed": 7,
            "count": 1,
        }
        options |= {"steps": STEPS, "guidance_scale": 7.5, "width": SIDE, "height": SIDE, "sampler": ""}
        return Task(id=name, command="imagine", task=TEXT_TO_IMAGE, model=model, options=options)
    tasks = (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)
    model = ModelSpec(name=name, tasks=tasks, repo=str(folder), dtype=dtype)
    options = {"question": "what is this?", "num_beams": 1, "temperature": 0.0, "top_p": 1.0}
    options |= {"min_new_tokens": TOKENS, "max_new_tokens": TOKENS}
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(out, "PNG")
    photo = TaskImage("init", Media(out.getvalue(), "image/png"))
    return Task(id=name, command="ask", task=VISUAL_QUESTION_ANSWERING, model=model, options=options, images=(photo,))


async def _run_request(task: Task, device: str, threads: int) -> dict[str, Any]:
    settings = PoolSettings(
        warm_up=False,
        nice=0,
        threads=threads,
        load_timeout_s=LIMIT_S,
        load_heartbeat_timeout_s=LIMIT_S,
        job_timeout_s=LIMIT_S,
        step_timeout_s=LIMIT_S,
        heartbeat_timeout_s=300.0,
    )
    measured: dict[str, float] = {}
    steps = 0
    async with ImageService() as images, DevicePool(settings, [device], [task.model], images) as pool:
        peaks = [0]
        recording = asyncio.create_task(_record_memory(pool, peaks))
        started = time.perf_counter()
        async for event in pool.run_task(task):
            if isinstance(event, Measurement):
                measured[event.what] = event.seconds
            if isinstance(event, Progress):
                steps = event.step
            if isinstance(event, TaskOutput):
                output = event
        seconds = time.perf_counter() - started
        recording.cancel()
    unit = "token" if "token" in measured else "step"
    return {
        "load_s": round(measured["load"], 1),
        "peak_mb": max(peaks),
        "unit": f"a {unit}",
        "step_s": round(measured[unit], 2),
        "request_s": round(seconds, 1),
        "result": _describe_result(output, steps),
    }


async def _record_memory(pool: DevicePool, peaks: list[int]) -> None:
    """Append to `peaks`, MiB: memory of the largest child process, or on its device."""
    while True:
        with contextlib.suppress(psutil.Error):
            used_mb = [child.memory_info().rss // 2**20 for child in psutil.Process().children(recursive=True)]
            peaks.append(max([*used_mb, *(status.memory_mb for status in pool.device_statuses())]))
        await asyncio.sleep(0.25)


def _describe_result(output: TaskOutput, count: int) -> str:
    """Check and describe the output.

    Args:
        count: the number of tokens or steps. Tokens are counted because random weights choose some that the tokenizer
            does not have.
    """
    if output.text is not None:
        assert count == TOKENS, count
        return f"an answer of {count} tokens"
    assert count >= STEPS, count  # PNDM makes one more
    image = Image.open(io.BytesIO(output.images[0].media.data))
    darkest, brightest = image.convert("L").getextrema()
    assert image.size == (SIDE, SIDE), image.size
    assert darkest != brightest, "the image has a single colour"
    return f"an image of {image.width} x {image.height} pixels, brightness {darkest} to {brightest}"


# ---------------------------------------------------------------- random weights, in a separate process


def _save_weights(name: str, folder: Path) -> float:
    """Returns millions of parameters."""
    import torch

    from benchmarks.blip import save_model
    from benchmarks.random_models import save_sd15

    torch.manual_seed(0)
    return save_sd15(folder) if name == "sd15" else save_model(folder, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=["sd15", "blip2"], default=["sd15", "blip2"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="computed in")
    parser.add_argument("--save", type=Path, help="only write the weights into this folder")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so the folder is removed
    if options.save:
        print(_save_weights(options.names[0], options.save))
    else:
        print(summarize(run_benchmark(tuple(options.names), options.device, options.threads, options.dtype)))


if __name__ == "__main__":
    main()
