"""Regions by word on held-out scenes: `python -m benchmarks.region_masks [--quick]`.

`starter-segment` finds things and grounds as the product does, its edges fitted to those of the image by the guided
filter. Prints the mean overlap (intersection over union) with the true masks by kind of scene, and how often a region
that is not there is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy
import torch

from benchmarks.engine_events import encode_png, pixels_of, run_tasks
from bot.models import IMAGE_SEGMENTATION, ModelSpec
from bot.ports import Task, TaskImage
from composition.settings import shipped_models
from inference.engine.base import Engine, ImageReady, TaskDone, build_engine
from training.colours import COLOURS
from training.evaluate_segment import Query, absent_thing, held_out_masked, name_of
from training.outlines import intersection_over_union
from training.scenes import SceneSampler
from training.textures import HELD_OUT_TEXTURES, TRAINING_TEXTURES

SCENES, QUICK_SCENES = 200, 20
GROUND = "the background"
MIN_OVERLAP = 0.85


class RegionTrial:
    """The shipped segmentation model, used as a device does."""

    def __init__(self, count: int) -> None:
        self._model: ModelSpec = shipped_models()["starter-segment"]
        self._engine: Engine = build_engine(self._model)
        self._engine.load_model("cpu")
        self.pairs = held_out_masked(count, 2, list(COLOURS), 1)
        self.unseen = held_out_masked(count, 1, HELD_OUT_TEXTURES, 2)
        self.known = held_out_masked(count, 1, TRAINING_TEXTURES, 3)

    def overlap(self, queries: Sequence[Query]) -> float:
        """Mean over the things or grounds that the queries name."""
        masks, _ = self._find(queries)
        wanted = [1 - one.subject if words == GROUND else one.mask_of(one.things[0]) for one, words in queries]
        pairs = zip(masks, wanted, strict=True)
        return float(numpy.mean([intersection_over_union(mask, true > 0.5) for mask, true in pairs]))

    def refused(self, queries: Sequence[Query]) -> float:
        """Share of the queries of which the model says that nothing is there."""
        _, missing = self._find(queries)
        return sum(missing) / len(missing)

    def _find(self, queries: Sequence[Query]) -> tuple[list[numpy.ndarray], list[bool]]:
        """The masks of the queries, bool, and whether each names something that is not there."""
        tasks = [
            Task(
                id=str(number),
                command="preview",
                task=IMAGE_SEGMENTATION,
                model=self._model,
                options={"region": words},
                answers="images",
                images=(TaskImage("init", encode_png(scene.pixels)),),
            )
            for number, (scene, words) in enumerate(queries)
        ]
        masks, missing = {}, {}
        for event in run_tasks(self._engine, tasks):
            if isinstance(event, ImageReady):
                masks[event.task_id] = pixels_of(event.image)[..., 0] >= 128
            elif isinstance(event, TaskDone):
                missing[event.task_id] = event.result.text is not None
        return [masks[task.id] for task in tasks], [missing[task.id] for task in tasks]


def main() -> int:
    torch.set_num_threads(1)
    trial = RegionTrial(QUICK_SCENES if "--quick" in sys.argv else SCENES)
    kinds = {
        "one of two objects": trial.pairs,
        "on textures of unseen kinds": trial.unseen,
        "on other textures": trial.known,
    }
    overlaps = {
        kind: trial.overlap([(scene, f"the {name_of(scene.things[0])}") for scene in scenes])
        for kind, scenes in kinds.items()
    }
    overlaps[GROUND] = trial.overlap([(scene, GROUND) for scene in (*trial.pairs, *trial.unseen)])
    sampler, rng = SceneSampler(objects=0.8), numpy.random.default_rng(9)
    absent = [(scene, f"the {name_of(absent_thing(scene, rng, sampler))}") for scene in (*trial.pairs, *trial.unseen)]
    for kind, overlap in overlaps.items():
        print(f"{kind}: {overlap:.3f} (goal {MIN_OVERLAP:g})")
    print(f"refused as not there: {trial.refused(absent):.1%} (goal 95 %)")
    return 0 if min(overlaps.values()) >= MIN_OVERLAP else 1


if __name__ == "__main__":
    sys.exit(main())
