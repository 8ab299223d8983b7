"""Teaches the starter image model an invented object from 20 pictures: `python -m benchmarks image_adapter`.

The object is drawn on three backgrounds that none of the 20 has, in two colours, each with three seeds, and judged by
its pixels; 100 held-out scenes of what the model knew are judged without and with the adapter. One core, in a process
of its own. `benchmarks/results/image_adapter.webp` shows pictures without and with it.
"""

import asyncio
import json
import resource
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machine import ROOT
from bot.models import TEXT_TO_IMAGE, ModelSpec
from bot.ports import TrainingReport, TrainingRequest
from inference.images.encode import save_image
from inference.learning.trainer_client import TrainerClient

PICTURES, SEEDS, SCENES = 20, 3, 100
GOAL_NEW, GOAL_OLD_LOSS = 16, 2
"""Of 18 pictures, everything right; of 100 scenes, at most so many fewer are right."""
MODEL = "models/starter-image"
BATCH = 6


def run_benchmark(quick: bool = False) -> dict[str, Any]:
    """`quick`: a few steps, which teach nothing."""
    with TemporaryDirectory(prefix="easel-bench-") as scratch:
        return _measure(Path(scratch), quick)


def summarize(figures: dict[str, Any]) -> str:
    marks = ", ".join(f"{name} {right}" for name, right in figures["marks"].items())
    return (
        f"\n  new: {figures['new']} right in everything ({marks}); before: {figures['new_before']}"
        f"\n  old: {figures['old']} of {figures['scenes']} scenes right, before: {figures['old_before']}"
        f"\n  {figures['cpu_s'] / 60:.1f} minutes of one core, {figures['peak_mb']} MiB; its test "
        f"{'accepts' if figures['is_accepted'] else 'refuses'} it: {figures['test']}"
    )


def _measure(place: Path, quick: bool) -> dict[str, Any]:
    from training.zorp import write_folder

    request = TrainingRequest(
        kind="image",
        model=_model(),
        name="zorp",
        folder=str(write_folder(place / "folder", PICTURES)),
        work=str(place / "work"),
        output=str(place / "zorp"),
        words="a zorp",
        steps=4 if quick else 0,
        threads=1,
    )
    if quick:
        request = replace(request, model=replace(request.model, steps=1))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = asyncio.run(_train(request))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        **_judge(place / "zorp", 6 if quick else SCENES),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "wall_s": round(report.seconds, 1),
        "peak_mb": report.peak_mb,
        "steps": report.steps,
        "is_accepted": report.is_accepted,
        "test": f"new {report.new_before.right} -> {report.new_after.right} of {report.new_after.total}, "
        f"old {report.old_before.right} -> {report.old_after.right} of {report.old_after.total}",
        "goals": {"new": GOAL_NEW, "old_loss": GOAL_OLD_LOSS},
    }


def _model() -> ModelSpec:
    notes = json.loads((ROOT / MODEL / "easel.json").read_text())
    return ModelSpec(name="starter-image", tasks=(TEXT_TO_IMAGE,), repo=str(ROOT / MODEL), **notes)


async def _train(request: TrainingRequest) -> TrainingReport:
    stage = ""
    async for event in TrainerClient(threads=1).train(request, is_paused=lambda: False):
        if isinstance(event, TrainingReport):
            return event
        if event.stage != stage:
            stage = event.stage
            print(f"  {stage} ...", flush=True)
    raise AssertionError("a training ends with its report")


def _judge(adapter: Path, scenes: int) -> dict[str, Any]:
    """By pixels, in pictures of an ordinary Diffusers pipeline that loads the adapter."""
    import numpy as np
    import torch
    from diffusers import StableDiffusionPipeline

    from training.judge import ImageJudge
    from training.sheets import contact_sheet
    from training.world import held_out_scenes
    from training.zorp import judge_zorp, unseen_zorps

    torch.set_num_threads(1)
    pipeline = StableDiffusionPipeline.from_pretrained(ROOT / MODEL, dtype=torch.float32, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    zorps, known = unseen_zorps() * SEEDS, held_out_scenes()[:scenes]
    prompts = [zorp.caption for zorp in zorps] + [scene.caption for scene in known]
    before = _paint(pipeline, prompts)
    pipeline.load_lora_weights(adapter)
    after = _paint(pipeline, prompts)
    judge = ImageJudge()

    def count(images: Sequence[Any]) -> tuple[Counter[str], int, int]:
        marks = [judge_zorp(np.asarray(image), zorp) for image, zorp in zip(images, zorps, strict=False)]
        each = Counter(name for one in marks for name, right in one.items() if right)
        rest = zip(images[len(zorps) :], known, strict=True)
        old = [judge.judge_image(np.asarray(image), scene) for image, scene in rest]
        return each, sum(all(one.values()) for one in marks), sum(one["background"] and one["thing"] for one in old)

    (_, new_before, old_before), (marks, new, old) = count(before), count(after)
    shown = [*range(6), *range(len(zorps), len(zorps) + 6)]
    sheet = contact_sheet([images[number] for images in (before, after) for number in shown], 12)
    encoded = save_image(sheet, "webp", "zorps without and with their adapter", '{"easel": 1}', quality=82)
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / "image_adapter.webp").write_bytes(encoded.data)
    return {
        "new": f"{new} of {len(zorps)}",
        "new_before": f"{new_before} of {len(zorps)}",
        "marks": dict(marks),
        "old": old,
        "old_before": old_before,
        "scenes": len(known),
    }


def _paint(pipeline: Any, prompts: Sequence[str]) -> list[Any]:
    """One picture of each prompt, seeded by its number."""
    import torch

    notes = json.loads((ROOT / MODEL / "easel.json").read_text())
    images: list[Any] = []
    for start in range(0, len(prompts), BATCH):
        texts = list(prompts[start : start + BATCH])
        seeds = [torch.Generator().manual_seed(start + number) for number in range(len(texts))]
        images += pipeline(
            texts, num_inference_steps=notes["steps"], guidance_scale=notes["guidance_scale"], generator=seeds
        ).images
    return images
