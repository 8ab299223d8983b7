"""How long the event loop is held up while models load and pictures are made: `python -m benchmarks.loop_lag`.

Our side runs the work in the pool's child process. The peer runs the same engine, model and request in a thread of
the process that serves people, as most bots do. Each side runs in a fresh interpreter, so that both pay for importing
torch. Lag is what a sleep of 5 ms takes beyond its 5 ms.
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

from bot.models import TEXT_TO_IMAGE, ModelSpec
from bot.ports import Task
from inference.pictures import PictureService
from inference.pool import DevicePool, PoolSettings

ROOT = Path(__file__).resolve().parent.parent
STARTER = ROOT / "models" / "starter-image"
TICK_S = 0.005
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


def run(repeats: int = 3) -> dict[str, Any]:
    """Both sides, alternating; the median of each figure. Lags are milliseconds."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = _model(Path(scratch))
        runs = [(_side("child", folder), _side("thread", folder)) for _ in range(repeats)]
    figures = {}
    for place, name in enumerate(("ours", "peer")):
        for figure in ("p99_ms", "max_ms", "seconds"):
            figures[f"{name}_{figure}"] = _median([pair[place][figure] for pair in runs])
    figures["ratio_p99"] = round(figures["peer_p99_ms"] / figures["ours_p99_ms"], 1)
    figures["ratio_max"] = round(figures["peer_max_ms"] / figures["ours_max_ms"], 1)
    return {"name": "loop-lag", "model": folder.name, "jobs": JOBS, "repeats": repeats, **figures}


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _side(side: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.loop_lag", "--side", side, "--model", str(folder)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    result: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return result


def _model(scratch: Path) -> Path:
    """The starter model, or one of random weights where it is not there."""
    if (STARTER / "model_index.json").exists():
        return STARTER
    folder = scratch / "random"
    code = "import sys, pathlib, tests.inference.tiny as t; t.save_diffusion(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True, capture_output=True, timeout=600)
    return folder


# ---------------------------------------------------------------- one side, in its own interpreter


async def _measured(work: Callable[[], Awaitable[None]]) -> dict[str, float]:
    """Do the work and watch the loop meanwhile."""
    lags: list[float] = []

    async def watch() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK_S)
            lags.append(1000 * (time.perf_counter() - began - TICK_S))

    began = time.perf_counter()
    watching = asyncio.create_task(watch())
    await work()
    watching.cancel()
    lags.sort()
    return {
        "p99_ms": round(lags[int(len(lags) * 0.99)], 2),
        "max_ms": round(lags[-1], 2),
        "seconds": round(time.perf_counter() - began, 2),
    }


def _tasks(folder: str) -> list[Any]:
    model = ModelSpec(name="bench", tasks=(TEXT_TO_IMAGE,), repo=folder)
    return [
        Task(id=f"job{n}", command="imagine", task=TEXT_TO_IMAGE, model=model, options=OPTIONS | {"seed": n})
        for n in range(JOBS)
    ]


async def _in_child(tasks: list[Any]) -> None:
    async with (
        PictureService() as pictures,
        DevicePool(PoolSettings(warm_up=False), ["cpu"], [tasks[0].model], pictures) as pool,
    ):
        for task in tasks:
            async for _ in pool.run(task):
                pass


async def _in_thread(tasks: list[Any]) -> None:
    await asyncio.to_thread(_load_and_make, tasks)


def _load_and_make(tasks: list[Any]) -> None:
    from inference.encoding import encode
    from inference.engine import Made, Over, build
    from inference.metadata import about
    from inference.protocol import EncodeRequest

    engine = build(tasks[0].model)
    engine.load("cpu")
    for task in tasks:
        engine.admit(task)
        events: list[Any] = []
        while not (events and isinstance(events[-1], Over)):
            events += engine.step()
        for picture in (event.picture for event in events if isinstance(event, Made)):
            parameters, easel = about(task, picture)
            encode(
                EncodeRequest(
                    pixels=picture.pixels,
                    width=picture.width,
                    height=picture.height,
                    parameters=parameters,
                    easel=easel,
                )
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=["child", "thread"])
    parser.add_argument("--model", default="")
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    if chosen.side:
        side = _in_child if chosen.side == "child" else _in_thread
        print(json.dumps(asyncio.run(_measured(lambda: side(_tasks(chosen.model))))))
        return
    figures = run(chosen.repeats)
    print(json.dumps(figures, indent=2))
    print(f"loop-lag: p99 {figures['ratio_p99']}x, max {figures['ratio_max']}x less than in a thread")


if __name__ == "__main__":
    main()
