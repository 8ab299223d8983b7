"""Event-loop lag while models load and images are generated: `python -m benchmarks.loop_lag`.

Ours runs the work in the pool's child process. The peer runs the same engine, model and request in a thread of the
serving process, as most bots do. Each runs in a fresh interpreter, so both pay for importing torch. Lag is the time a
sleep of 5 ms takes beyond its 5 ms. An idle loop in another process is measured at the same time as ours: its lag is
caused by the machine, not by the server. "Own" is the CPU time of the loop's thread between two ticks, which load on
the machine does not change.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.figures import compare, percentile, record, summarize_rows
from bot.models import TEXT_TO_IMAGE, ModelSpec
from bot.ports import Task
from inference.images.service import ImageService
from inference.pool.pool import DevicePool, PoolSettings

ROOT = Path(__file__).resolve().parent.parent
STARTER = ROOT / "models" / "starter-image"
TICK_S = 0.005
GOAL_MS = 2.0
LIMIT_S = 900.0
JOBS = 5
OPTIONS = {
    "prompt": "a rocket on a purple background",
    "negative_prompt": "",
    "seed": 7,
    "count": 1,
    "steps": 20,
    "guidance_scale": 5.0,
    "width": 128,
    "height": 128,
    "sampler": "",
}
summarize = summarize_rows


def run_benchmark(repeats: int = 3, quick: bool = False) -> dict[str, Any]:
    """Ours and the peer alternately; the median of each figure. Lags are milliseconds."""
    repeats = 1 if quick else repeats
    with tempfile.TemporaryDirectory() as scratch:
        folder = _model_folder(Path(scratch))
        runs = [(*_run_with_idle_loop("child", folder), _run_side("thread", folder)) for _ in range(repeats)]
    figures = {}
    for place, name in enumerate(("ours", "idle", "peer")):
        for figure in ("p99_ms", "max_ms", "own_p99_ms", "own_max_ms", "seconds"):
            figures[f"{name}_{figure}"] = _median([sides[place][figure] for sides in runs])
    figures["ratio_p99"] = round(figures["peer_p99_ms"] / figures["ours_p99_ms"], 1)
    figures["ratio_max"] = round(figures["peer_max_ms"] / figures["ours_max_ms"], 1)
    row = compare("p99 while loading and generating, ms", figures["ours_p99_ms"], figures["peer_p99_ms"], "in a thread")
    limit = compare("the same against the goal, ms", figures["ours_p99_ms"], GOAL_MS, "the goal", goal=1.0)
    idle = compare("the same against an idle loop, ms", figures["ours_p99_ms"], figures["idle_p99_ms"], "idle loop")
    own = compare("p99 of its own work, ms", figures["ours_own_p99_ms"], GOAL_MS, "the goal", goal=1.0)
    return record([row, limit, idle, own], model=folder.name, jobs=JOBS, repeats=repeats, **figures)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _run_side(side: str, folder: Path) -> dict[str, float]:
    output = subprocess.run(_command(side, folder), cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=LIMIT_S)
    return _parse_figures(output.stdout)


def _run_with_idle_loop(side: str, folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """The side's figures, and those of an idle loop measured at the same time."""
    idle = subprocess.Popen(
        _command("idle", folder), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    )
    try:
        figures = _run_side(side, folder)
        output, _ = idle.communicate(timeout=LIMIT_S)  # it stops at the end of its input
    finally:
        idle.kill()
    return figures, _parse_figures(output)


def _command(side: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.loop_lag", "--side", side, "--model", str(folder)]


def _parse_figures(output: bytes) -> dict[str, float]:
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures


def _model_folder(scratch: Path) -> Path:
    """The starter model, or one with random weights if it is missing."""
    if (STARTER / "model_index.json").exists():
        return STARTER
    folder = scratch / "random"
    code = "import sys, pathlib, tests.inference.tiny as t; t.save_diffusion(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True, capture_output=True, timeout=600)
    return folder


# ---------------------------------------------------------------- one side, in a fresh interpreter


async def _measure_lag(work: Callable[[], Awaitable[None]]) -> dict[str, float]:
    """Run `work` and measure the event loop's lag during it."""
    lags: list[float] = []
    own: list[float] = []

    async def record_ticks() -> None:
        while True:
            started, used = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK_S)
            lags.append(1000 * (time.perf_counter() - started - TICK_S))
            own.append(1000 * (time.thread_time() - used))

    started = time.perf_counter()
    recording = asyncio.create_task(record_ticks())
    await work()
    recording.cancel()
    return {
        "p99_ms": round(percentile(lags, 0.99), 2),
        "max_ms": round(max(lags), 2),
        "own_p99_ms": round(percentile(own, 0.99), 2),
        "own_max_ms": round(max(own), 2),
        "seconds": round(time.perf_counter() - started, 2),
    }


def _make_tasks(folder: str) -> list[Any]:
    model = ModelSpec(name="bench", tasks=(TEXT_TO_IMAGE,), repo=folder)
    return [
        Task(id=f"job{n}", command="imagine", task=TEXT_TO_IMAGE, model=model, options=OPTIONS | {"seed": n})
        for n in range(JOBS)
    ]


async def _run_in_child(tasks: list[Any]) -> None:
    async with (
        ImageService() as images,
        DevicePool(PoolSettings(warm_up=False), ["cpu"], [tasks[0].model], images) as pool,
    ):
        for task in tasks:
            async for _ in pool.run_task(task):
                pass


async def _wait_for_input_end(_tasks: list[Any]) -> None:
    await asyncio.to_thread(sys.stdin.read)


async def _run_in_thread(tasks: list[Any]) -> None:
    await asyncio.to_thread(_load_and_generate, tasks)


def _load_and_generate(tasks: list[Any]) -> None:
    from inference.engine.base import ImageReady, TaskDone, build_engine
    from inference.images.encode import encode_image
    from inference.images.metadata import generation_metadata
    from inference.ipc.image_messages import EncodeRequest

    engine = build_engine(tasks[0].model)
    engine.load_model("cpu")
    for task in tasks:
        engine.add_task(task)
        events: list[Any] = []
        while not any(isinstance(event, TaskDone) for event in events):
            events += engine.step()
        for image in (event.image for event in events if isinstance(event, ImageReady)):
            parameters, easel = generation_metadata(task, image)
            encode_image(
                EncodeRequest(
                    pixels=image.pixels,
                    width=image.width,
                    height=image.height,
                    parameters=parameters,
                    easel=easel,
                )
            )


_SIDES = {"child": _run_in_child, "thread": _run_in_thread, "idle": _wait_for_input_end}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=list(_SIDES))
    parser.add_argument("--model", default="")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.side:
        side = _SIDES[options.side]
        print(json.dumps(asyncio.run(_measure_lag(lambda: side(_make_tasks(options.model))))))
        return
    print(summarize(run_benchmark(options.repeats)))


if __name__ == "__main__":
    main()
