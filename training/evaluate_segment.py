"""Evaluates `starter-segment` on scenes held out from its training, and prints a table.

Run `python -m training.evaluate_segment`, or with `--checkpoint .training/segment.pt` during a training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

from training.colours import COLOURS
from training.outlines import intersection_over_union
from training.scenes import SceneSampler
from training.segment import MIN_CONFIDENCE, build_segment_processor, build_segmenter
from training.segment_data import MaskedScene, fits_name, render_masked, visible_colours
from training.textures import HELD_OUT_TEXTURES, TRAINING_TEXTURES
from training.world import SIZE, Scene, Thing, is_held_out

THRESHOLD = 0.5
EMPTY_SHARE = 0.002
"""A mask counts as empty if `MIN_CONFIDENCE` is reached by a smaller share of the image's pixels."""
BATCH = 20
Query = tuple[MaskedScene, str]


class RegionModel:
    """A trained model, used as Easel does: one image and one phrase for each mask."""

    def __init__(self, model: CLIPSegForImageSegmentation, processor: CLIPSegProcessor) -> None:
        self.model, self.processor = model.eval(), processor

    @classmethod
    def from_folder(cls, folder: Path) -> RegionModel:
        """A saved model."""
        model = CLIPSegForImageSegmentation.from_pretrained(folder, dtype=torch.float32)
        return cls(model, CLIPSegProcessor.from_pretrained(folder))

    @classmethod
    def from_checkpoint(cls, checkpoint: Path) -> RegionModel:
        """The averaged weights of a training that is not finished."""
        processor = build_segment_processor()
        model = build_segmenter(processor)
        model.load_state_dict(torch.load(checkpoint, weights_only=True)["average"])
        return cls(model, processor)

    def find_regions(self, queries: Sequence[Query]) -> list[np.ndarray]:
        """One mask for each image and phrase: shape (size, size), bool."""
        return [probabilities > THRESHOLD for probabilities in self.find_probabilities(queries)]

    @torch.no_grad()
    def find_probabilities(self, queries: Sequence[Query]) -> list[np.ndarray]:
        """One for each image and phrase: shape (size, size), float32."""
        found: list[np.ndarray] = []
        for start in range(0, len(queries), BATCH):
            part = queries[start : start + BATCH]
            inputs = self.processor(
                text=[phrase for _, phrase in part],
                images=[Image.fromarray(scene.pixels) for scene, _ in part],
                padding=True,
                truncation=True,
                return_tensors="pt",
            )
            logits = F.interpolate(self.model(**inputs).logits[:, None], (SIZE, SIZE), mode="bilinear")[:, 0]
            found += list(logits.sigmoid().numpy())
        return found


def held_out_masked(count: int, things: int, grounds: Sequence[str], seed: int) -> list[MaskedScene]:
    """Scenes with masks that no training has seen, always the same ones.

    Their combinations of things or of a thing and its ground are held out, or their texture is.
    """
    rng, sampler, scenes = np.random.default_rng([15, seed]), SceneSampler(objects=0.8), list[MaskedScene]()
    while len(scenes) < count:
        drawn = tuple(sampler.sample_thing(rng) for _ in range(things))
        scene = Scene(drawn, str(rng.choice(list(grounds))))
        colours = visible_colours(drawn, rng)
        is_visible = scene.background not in COLOURS or scene.background in colours
        is_new = scene.background in HELD_OUT_TEXTURES or is_held_out(scene)
        if len(set(drawn)) == things and colours and is_visible and is_new:
            scenes.append(render_masked(scene, colours, rng))
    return scenes


def absent_thing(scene: MaskedScene, rng: np.random.Generator, sampler: SceneSampler) -> Thing:
    """A random thing that is not in the scene."""
    while True:
        thing = sampler.sample_thing(rng)
        if not any(fits_name(one, thing) for one in scene.things):
            return thing


def evaluate_segment(model: RegionModel, count: int) -> dict[str, str]:
    """Mean intersection over union by kind of scene, and how many masks of missing things are empty."""
    pairs = held_out_masked(count, 2, list(COLOURS), 1)
    new, known = held_out_masked(count, 1, HELD_OUT_TEXTURES, 2), held_out_masked(count, 1, TRAINING_TEXTURES, 3)
    sampler, rng = SceneSampler(objects=0.8), np.random.default_rng(9)
    missing = [(scene, f"the {name_of(absent_thing(scene, rng, sampler))}") for scene in (*pairs, *new)]
    there = [(scene, f"the {name_of(scene.things[0])}") for scene in (*pairs, *new)]
    return {
        "one of two objects": _mean_overlap(model, pairs),
        "on textured grounds of unseen kinds": _mean_overlap(model, new),
        "on other textured grounds": _mean_overlap(model, known),
        "the background": _mean_overlap(model, [*pairs, *new], "the background"),
        "missing, empty mask": _share_of([not is_seen for is_seen in _find_seen(model, missing)]),
        "present, not empty": _share_of(_find_seen(model, there)),
    }


def _find_seen(model: RegionModel, queries: Sequence[Query]) -> list[bool]:
    return [(found >= MIN_CONFIDENCE).mean() >= EMPTY_SHARE for found in model.find_probabilities(queries)]


def _share_of(outcomes: Sequence[bool]) -> str:
    return f"{sum(outcomes)} of {len(outcomes)} ({100 * sum(outcomes) / len(outcomes):.1f} %)"


def name_of(thing: Thing) -> str:
    """Without its article."""
    return f"{thing.colour} {thing.name}".strip()


def _mean_overlap(model: RegionModel, scenes: Sequence[MaskedScene], phrase: str = "") -> str:
    """Of the first thing of each scene, or of the ground: as in `0.912, 93 % at least 0.85`."""
    found = model.find_regions([(scene, phrase or f"the {name_of(scene.things[0])}") for scene in scenes])
    wanted = [1 - scene.subject if phrase else scene.mask_of(scene.things[0]) for scene in scenes]
    overlaps = [intersection_over_union(one, other > 0.5) for one, other in zip(found, wanted, strict=True)]
    return f"{np.mean(overlaps):.3f}, {100 * np.mean(np.array(overlaps) >= 0.85):.0f} % at least 0.85"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/starter-segment"))
    parser.add_argument("--checkpoint", type=Path, help="of a training that is not finished, instead of a model")
    parser.add_argument("--scenes", type=int, default=200, help="of each kind")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.checkpoint:
        model = RegionModel.from_checkpoint(options.checkpoint)
    else:
        model = RegionModel.from_folder(options.model)
    print(json.dumps(evaluate_segment(model, options.scenes), indent=2))


if __name__ == "__main__":
    main()
