"""How long the event loop is held up while models load and pictures are made: `python -m benchmarks.loop_lag`.

Our side runs the work in the pool's child process. The peer runs the same engine, model and request in a thread of
the process that serves people, as most bots do. Each side runs in a fresh interpreter, so that both pay for importing
torch. Lag is what a sleep of 5 ms takes beyond its 5 ms. An idle loop in a process of its own is watched beside ours:
what it lags, too, is the machine's doing, not the house's. "Own" is processor time that the loop's thread used between
two ticks, which a busy machine does not change.
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

from benchmarks.figures import compare, percentile, record, told
from bot.models import TEXT_TO_IMAGE, ModelSpec
from bot.ports import Task
from inference.images.service import PictureService
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
sentence = told


def run(repeats: int = 3, quick: bool = False) -> dict[str, Any]:
    """Both sides, alternating; the median of each figure. Lags are milliseconds."""
    repeats = 1 if quick else repeats
    with tempfile.TemporaryDirectory() as scratch:
        folder = _model(Path(scratch))
        runs = [(*_beside_idle("child", folder), _side("thread", folder)) for _ in range(repeats)]
    figures = {}
    for place, name in enumerate(("ours", "idle", "peer")):
        for figure in ("p99_ms", "max_ms", "own_p99_ms", "own_max_ms", "seconds"):
            figures[f"{name}_{figure}"] = _median([sides[place][figure] for sides in runs])
    figures["ratio_p99"] = round(figures["peer_p99_ms"] / figures["ours_p99_ms"], 1)
    figures["ratio_max"] = round(figures["peer_max_ms"] / figures["ours_max_ms"], 1)
    row = compare("p99 while loading and generating, ms", figures["ours_p99_ms"], figures["peer_p99_ms"], "in a thread")
    limit = compare("the same beside the goal, ms", figures["ours_p99_ms"], GOAL_MS, "the goal", goal=1.0)
    idle = compare("the same beside an idle loop, ms", figures["ours_p99_ms"], figures["idle_p99_ms"], "idle loop")
    own = compare("p99 of its own work, ms", figures["ours_own_p99_ms"], GOAL_MS, "the goal", goal=1.0)
    return record([row, limit, idle, own], model=folder.name, jobs=JOBS, repeats=repeats, **figures)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _side(side: str, folder: Path) -> dict[str, float]:
    said = subprocess.run(_command(side, folder), cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=LIMIT_S)
    return _figures(said.stdout)


def _beside_idle(side: str, folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """The side's figures, and those of a loop without work that was watched meanwhile."""
    idle = subprocess.Popen(
        _command("idle", folder), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    )
    try:
        figures = _side(side, folder)
        said, _ = idle.communicate(timeout=LIMIT_S)  # the end of its input is the end of its watch
    finally:
        idle.kill()
    return figures, _figures(said)


def _command(side: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.loop_lag", "--side", side, "--model", str(folder)]


def _figures(said: bytes) -> dict[str, float]:
    figures: dict[str, float] = json.loads(said.splitlines()[-1])
    return figures


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
    own: list[float] = []

    async def watch() -> None:
        while True:
            began, used = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK_S)
            lags.append(1000 * (time.perf_counter() - began - TICK_S))
            own.append(1000 * (time.thread_time() - used))

    began = time.perf_counter()
    watching = asyncio.create_task(watch())
    await work()
    watching.cancel()
    return {
        "p99_ms": round(percentile(lags, 0.99), 2),
        "max_ms": round(max(lags), 2),
        "own_p99_ms": round(percentile(own, 0.99), 2),
        "own_max_ms": round(max(own), 2),
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


async def _idle(_tasks: list[Any]) -> None:
    await asyncio.to_thread(sys.stdin.read)


async def _in_thread(tasks: list[Any]) -> None:
    await asyncio.to_thread(_load_and_make, tasks)


def _load_and_make(tasks: list[Any]) -> None:
    from inference.engine.base import Made, Over, build
    from inference.images.encode import encode
    from inference.images.metadata import about
    from inference.ipc.messages import EncodeRequest

    engine = build(tasks[0].model)
    engine.load("cpu")
    for task in tasks:
        engine.admit(task)
        events: list[Any] = []
        while not any(isinstance(event, Over) for event in events):
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


_SIDES = {"child": _in_child, "thread": _in_thread, "idle": _idle}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=list(_SIDES))
    parser.add_argument("--model", default="")
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    if chosen.side:
        side = _SIDES[chosen.side]
        print(json.dumps(asyncio.run(_measured(lambda: side(_tasks(chosen.model))))))
        return
    print(sentence(run(chosen.repeats)))


if __name__ == "__main__":
    main()
