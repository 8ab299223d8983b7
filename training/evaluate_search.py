"""Evaluates search by meaning on `starter-match`: how often the right picture comes first among 100 hard negatives.

Run `python -m training.evaluate_search`. The words are the caption of a held-out scene. The 100 others show the same
thing on another ground, in another place, in another size or more often, those with the fewest differences first. The
stages are those of Easel's search: the mean of each picture's vectors; all vectors; and the matching head on the best
16, added to the similarity.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import Blip2ForImageTextRetrieval, Blip2Processor

from training.colours import COLOURS
from training.draw import render_scene
from training.world import COUNTS, HEIGHTS, SPOTS, Scene, Thing, held_out_scenes, is_visible

NEGATIVES = 100
MATCHED = 16
STAGES = ("mean", "all vectors", "matching")


def scenes_of(thing: Thing) -> list[Scene]:
    """Every scene of a thing alone, or several times."""
    grounds = [ground for ground in COLOURS if is_visible(thing, ground)]
    places = [Scene((thing,), ground, spot=spot) for ground, spot in product(grounds, SPOTS)]
    sizes = [Scene((thing,), ground, size=size) for ground, size in product(grounds, HEIGHTS) if size]
    counts = [Scene((thing,) * count, ground) for ground, count in product(grounds, range(2, len(COUNTS) + 1))]
    return [*places, *sizes, *counts]


def hard_negatives(scene: Scene) -> list[Scene]:
    """The scenes of the same thing that differ least, in a fixed order."""

    def differences(other: Scene) -> tuple[int, str]:
        pairs = ((getattr(scene, name), getattr(other, name)) for name in ("background", "spot", "size", "things"))
        return sum(own != theirs for own, theirs in pairs), other.caption

    others = [other for other in scenes_of(scene.thing) if other != scene]
    return sorted(others, key=differences)[:NEGATIVES]


class SearchModel:
    """Embeddings and matching as Easel computes them."""

    def __init__(self, folder: Path) -> None:
        self.model = Blip2ForImageTextRetrieval.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = Blip2Processor.from_pretrained(folder)

    @torch.no_grad()
    def rank_scenes(self, caption: str, scenes: Sequence[Scene]) -> dict[str, int]:
        """By stage, which scene comes first."""
        images = [Image.fromarray(render_scene(scene)) for scene in scenes]
        inputs = self.processor(images=images, text=[caption] * len(images), return_tensors="pt")
        output = self.model(**inputs)
        text, vectors = output.text_embeds[0], output.image_embeds
        means = (vectors.mean(dim=1) @ text).numpy()
        similarities = (vectors @ text).amax(dim=1).numpy()
        best = np.argsort(-similarities)[:MATCHED]
        chosen = {name: value[torch.from_numpy(best)] for name, value in inputs.items()}
        logits = self.model(**chosen, use_image_text_matching_head=True).logits_per_image
        scores = (logits[:, 1] - logits[:, 0]).numpy() + similarities[best]
        firsts = (means.argmax(), similarities.argmax(), best[scores.argmax()])
        return {stage: int(first) for stage, first in zip(STAGES, firsts, strict=True)}


def evaluate_search(model: SearchModel, scenes: Sequence[Scene]) -> dict[str, str]:
    """By stage, how often the right picture comes first."""
    ranked = [model.rank_scenes(scene.caption, [scene, *hard_negatives(scene)]) for scene in scenes]
    rights = {stage: sum(one[stage] == 0 for one in ranked) for stage in STAGES}
    return {stage: f"{right}/{len(ranked)} = {100 * right / len(ranked):.1f} %" for stage, right in rights.items()}


def sample_scenes(count: int) -> list[Scene]:
    """Held-out scenes: plain ones, then in other places, sizes and numbers, always the same ones."""
    rng = np.random.default_rng(26)
    plain = list(held_out_scenes())
    chosen = [plain[int(n)] for n in rng.permutation(len(plain))[:count]]
    variants = [scenes_of(scene.thing) for scene in chosen]
    held_out = [
        [one for one in of_thing if one.background == scene.background]
        for of_thing, scene in zip(variants, chosen, strict=True)
    ]
    return [of_scene[int(rng.integers(len(of_scene)))] for of_scene in held_out]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/starter-match"))
    parser.add_argument("--scenes", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = evaluate_search(SearchModel(arguments.model), sample_scenes(arguments.scenes))
    print(json.dumps({"right picture first of 101": table}, indent=2))


if __name__ == "__main__":
    main()
