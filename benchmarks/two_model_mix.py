"""Seconds lost to model swaps when images and questions alternate: `python -m benchmarks.two_model_mix [--quick]`.

Lost is the extra time of the alternating stream over the same requests sorted by model. The peer is a server that holds
one model and loads the other on demand, like servers without a memory plan.
"""

import asyncio
import io
import json
import subprocess
import sys
import time
from typing import Any

from PIL import Image

from benchmarks import figures
from benchmarks.compute_threads import measure_each
from benchmarks.figures import compare
from benchmarks.machine import ROOT
from benchmarks.shapes import STARTER
from bot.jobs import Media
from bot.models import IMAGE_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.ports import Task, TaskImage
from inference.images.service import ImageService
from inference.pool.pool import DevicePool, PoolSettings

VISION = ROOT / "models" / "starter-vision"
QUESTION = "Question: What colour is the background? Answer:"
PAIRS = 6
TOKENS = 8
STEPS = 8
GOAL = 2.0
_MIN_DIFFERENCE_S = 0.01
"""The accuracy of the measurement."""
summarize = figures.summarize_rows


def run_benchmark(quick: bool = False) -> dict[str, Any]:
    return measure_each(lambda threads: _measure(quick, threads))


def _measure(quick: bool, threads: int) -> dict[str, Any]:
    repeats = 1 if quick else 3
    both = [(asyncio.run(_run_ours(threads)), _run_peer(threads)) for _ in range(repeats)]
    ours, peer = (figures.medians([pair[place] for pair in both]) for place in (0, 1))
    rows = [
        compare(
            f"seconds lost over {2 * PAIRS} alternating requests",
            max(_MIN_DIFFERENCE_S, ours["mixed_s"] - ours["sorted_s"]),
            max(_MIN_DIFFERENCE_S, peer["mixed_s"] - peer["sorted_s"]),
            "reloading server",
            goal=GOAL,
        ),
        compare("the same, total, s", ours["mixed_s"], peer["mixed_s"], "reloading server"),
        compare("sorted by model, total, s", ours["sorted_s"], peer["sorted_s"], "reloading server"),
    ]
    return figures.record(rows, repeats=repeats, pairs=PAIRS)


def _command_orders() -> dict[str, str]:
    """Commands in order: `i` is imagine, `a` is ask."""
    return {"mixed_s": "ia" * PAIRS, "sorted_s": "i" * PAIRS + "a" * PAIRS}


def _photo() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "PNG")
    return out.getvalue()


# ---------------------------------------------------------------- ours


async def _run_ours(threads: int) -> dict[str, float]:
    image = ModelSpec(name="image", tasks=(TEXT_TO_IMAGE,), repo=str(STARTER), dtype="float32")
    vision = ModelSpec(
        name="vision", tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING), repo=str(VISION), dtype="float32"
    )
    settings = PoolSettings(warm_up=False, nice=0, threads=threads)
    taken = {}
    async with ImageService() as images, DevicePool(settings, ["cpu"], [image, vision], images) as pool:
        for number, kind in enumerate("ia"):  # starts the process and its imports
            await _run_task(pool, _make_task(f"warm{number}", kind, image, vision))
        for name, order in _command_orders().items():
            started = time.perf_counter()
            for number, kind in enumerate(order):
                await _run_task(pool, _make_task(f"{name}{number}", kind, image, vision))
            taken[name] = time.perf_counter() - started
    return taken


async def _run_task(pool: DevicePool, task: Task) -> None:
    async for _ in pool.run_task(task):
        pass


def _make_task(name: str, kind: str, image: ModelSpec, vision: ModelSpec) -> Task:
    if kind == "i":
        options: dict[str, Any] = {
            "prompt": "a cat on a green background",
            "negative_prompt": "",
            "seed": 7,
            "count": 1,
            "steps": STEPS,
            "guidance_scale": 2.0,
            "width": 128,
            "height": 128,
            "sampler": "ddim",
        }
        return Task(id=name, command="imagine", task=TEXT_TO_IMAGE, model=image, options=options)
    options = {"question": "What colour is the background?", "num_beams": 1, "temperature": 0.0, "top_p": 1.0}
    options |= {"min_new_tokens": TOKENS, "max_new_tokens": TOKENS}
    photo = TaskImage("init", Media(_photo(), "image/png"))
    return Task(id=name, command="ask", task=VISUAL_QUESTION_ANSWERING, model=vision, options=options, images=(photo,))


# ---------------------------------------------------------------- the peer, in its own process


def _run_peer(threads: int) -> dict[str, float]:
    completed = subprocess.run(
        [sys.executable, "-m", "benchmarks.two_model_mix", "--peer", str(threads)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    peer_figures: dict[str, float] = json.loads(completed.stdout.splitlines()[-1])
    return peer_figures


class _ReloadingServer:
    """Holds one model at a time."""

    def __init__(self) -> None:
        self._kind = ""
        self._model: Any = None

    def answer(self, kind: str) -> None:
        if kind != self._kind:
            self._model = None
            self._model = _image_model() if kind == "i" else _vision_model()
            self._kind = kind
        self._model()


def _image_model() -> Any:
    import torch
    from diffusers import AutoPipelineForText2Image

    pipeline = AutoPipelineForText2Image.from_pretrained(STARTER, dtype=torch.float32, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return lambda: (
        pipeline("a cat on a green background", num_inference_steps=STEPS, guidance_scale=2.0)
        .images[0]
        .save(io.BytesIO(), "PNG")
    )


def _vision_model() -> Any:
    import torch
    from transformers import AutoProcessor, Blip2ForConditionalGeneration

    processor = AutoProcessor.from_pretrained(VISION)
    model = Blip2ForConditionalGeneration.from_pretrained(VISION, dtype=torch.float32)

    def answer() -> None:
        inputs = processor(images=Image.open(io.BytesIO(_photo())), text=QUESTION, return_tensors="pt")
        with torch.inference_mode():
            model.generate(**inputs, min_new_tokens=TOKENS, max_new_tokens=TOKENS)

    return answer


def _measure_peer(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    server, taken = _ReloadingServer(), {}
    for kind in "ia":
        server.answer(kind)
    for name, order in _command_orders().items():
        started = time.perf_counter()
        for kind in order:
            server.answer(kind)
        taken[name] = time.perf_counter() - started
    print(json.dumps(taken))


if __name__ == "__main__":
    if "--peer" in sys.argv:
        _measure_peer(int(sys.argv[-1]))
    else:
        figures.run_cli(run_benchmark, summarize)
