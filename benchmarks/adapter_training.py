"""Teaches the starter vision model twenty invented glyphs: `python -m benchmarks adapter_training`.

Twenty photos of each, which never change; judged on 100 other photos of them and on 100 held-out scenes of what the
model knew. Once as Easel trains, and once without replay, which its test must refuse. One core, in a process of its
own.
"""

import asyncio
import json
import resource
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machine import ROOT
from bot.models import IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.ports import NO_REPLAY, OWN_REPLAY, TrainingReport, TrainingRequest
from inference.learning.adapter_folder import report_as_json
from inference.learning.trainer_client import TrainerClient

PHOTOS, UNSEEN_PHOTOS, SCENES = 20, 5, 100
GOAL_NEW, GOAL_OLD, GOAL_S, GOAL_MB = 85, 96, 300, 1024
MODEL = "models/starter-vision"


def run_benchmark(quick: bool = False) -> dict[str, Any]:
    """`quick`: a few steps, which teach nothing."""
    with TemporaryDirectory(prefix="easel-bench-") as scratch:
        return {replay: _measure(replay, Path(scratch) / replay, quick) for replay in (OWN_REPLAY, NO_REPLAY)}


def summarize(figures: dict[str, Any]) -> str:
    return "".join(
        f"\n  replay {replay}: new {one['new']}, old {one['old']}; {one['cpu_s']} s of one core, {one['peak_mb']} MiB; "
        f"its test {'accepts' if one['report']['is_accepted'] else 'refuses'} it: "
        f"new {_percents(one['report'], 'new')}, old {_percents(one['report'], 'old')}"
        for replay, one in figures.items()
    )


def _percents(report: dict[str, Any], which: str) -> str:
    before, after = (report[f"{which}_{when}"] for when in ("before", "after"))
    return f"{before['right']} -> {after['right']} of {after['total']}"


def _measure(replay: str, place: Path, quick: bool) -> dict[str, Any]:
    from training.glyphs import write_folder

    write_folder(place / "folder", PHOTOS, seed=1)
    request = TrainingRequest(
        kind="vision",
        model=_model(),
        name="glyphs",
        folder=str(place / "folder"),
        work=str(place / "work"),
        output=str(place / "glyphs"),
        replay=replay,
        steps=4 if quick else 0,
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = asyncio.run(_train(request))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    new, old = _judge(place / "glyphs")
    return {
        "new": new,
        "old": old,
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "wall_s": round(report.seconds, 1),
        "peak_mb": report.peak_mb,
        "goals": {"new": GOAL_NEW, "old": GOAL_OLD, "cpu_s": GOAL_S, "peak_mb": GOAL_MB},
        "report": {key: value for key, value in _as_json(report).items() if key != "trained"},
    }


def _model() -> ModelSpec:
    notes = json.loads((ROOT / MODEL / "easel.json").read_text())
    return ModelSpec(
        name="starter-vision", tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING), repo=str(ROOT / MODEL), **notes
    )


def _as_json(report: TrainingReport) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(report_as_json(report)))
    return values


async def _train(request: TrainingRequest) -> TrainingReport:
    stage = ""
    async for event in TrainerClient(threads=1).train(request, is_paused=lambda: False):
        if isinstance(event, TrainingReport):
            return event
        if event.stage != stage:
            stage = event.stage
            print(f"  {stage} ...", flush=True)
    raise AssertionError("a training ends with its report")


def _judge(adapter: Path) -> tuple[str, dict[str, str]]:
    """Right names of unseen photos, and right answers about held-out scenes, by the adapter as `peft` loads it."""
    import torch
    from peft import PeftModel
    from PIL import Image

    from training.draw import render_scene
    from training.evaluate import VisionModel, evaluate_answers, held_out_of_kind
    from training.glyphs import QUESTION, photos
    from training.scenes import PLAIN

    torch.set_num_threads(1)
    vision = VisionModel(ROOT / MODEL)
    vision.model = PeftModel.from_pretrained(vision.model, adapter).eval()
    unseen = list(photos(UNSEEN_PHOTOS, seed=2))
    answers = vision.answer_question([image for _, image in unseen], QUESTION)
    right = sum(answer == glyph.answer for answer, (glyph, _) in zip(answers, unseen, strict=True))
    scenes = held_out_of_kind(PLAIN, SCENES)
    old = evaluate_answers(vision, [Image.fromarray(render_scene(scene)) for scene in scenes], scenes)
    return f"{right} of {len(unseen)}", {kind: old[kind] for kind in ("thing", "background", "caption")}
