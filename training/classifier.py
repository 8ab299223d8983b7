"""The independent eye: a small network that names objects and shapes, trained on true renders alone.

It marks the starter models and is never used to train them. `python -m training.classifier` trains it and writes
`training/classifier.safetensors`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from training.colours import rgb
from training.draw import compose, render, to_tensor
from training.objects import OBJECTS
from training.rough import roughen
from training.runs import Plan, Run, fast_arithmetic
from training.scenes import SceneChooser
from training.shapes import SHAPES
from training.world import SIZE, Placed, Scene, held_out

SIDE = 64
FILE = Path(__file__).parent / "classifier.safetensors"
NAMES = (*OBJECTS, *SHAPES)
NUMBERS = {name: number for number, name in enumerate(NAMES)}
LOOKED_AT = {"plain": 0.6, "sized": 0.1, "spotted": 0.1, "counted": 0.08, "paired": 0.12}


class Classifier(nn.Sequential):
    """Names what stands in the middle of a picture of shape (3, 64, 64), in [-1, 1]."""

    def __init__(self) -> None:
        widths = (3, 32, 64, 128, 256)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
        super().__init__(*layers, nn.Conv2d(256, 256, 4), nn.ReLU(), nn.Flatten(), nn.Linear(256, len(NAMES)))


@dataclass(frozen=True)
class Recipe:
    """How long the classifier learns."""

    plan: Plan
    batch: int = 96


FULL = Recipe(Plan(steps=1100, learning_rate=2e-3, average=0.99, save_every=500, fall=0.7))
QUICK = Recipe(Plan(steps=2, learning_rate=1e-3, save_every=1), batch=4)


class ClassifierLoss:
    """What the classifier learns from: things cut out of drawn scenes, roughened and softened."""

    def __init__(self, model: Classifier, batch: int) -> None:
        self.model, self.batch = model, batch
        self.chooser = SceneChooser(LOOKED_AT, objects=0.9)

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        cuts, numbers = [], []
        for _ in range(self.batch):
            scene = self.chooser.choose(rng)
            ground = rgb(scene.background) if rng.random() < 0.5 else rng.uniform(0, 255, 3).astype(np.float32)
            layout = scene.layout()
            placed = layout[int(rng.integers(len(layout)))]
            drawn = compose(layout, ground.astype(np.float32))
            cuts.append(cut_out(drawn, _moved(placed, rng)))
            numbers.append(NUMBERS[placed.thing.name])
        with fast_arithmetic():
            scores = self.model(_soften(roughen(to_tensor(cuts), rng), rng))
        return F.cross_entropy(scores.float(), torch.tensor(numbers), label_smoothing=0.05)


def cut_out(pixels: np.ndarray, placed: Placed) -> np.ndarray:
    """The square in which the thing is three quarters high: RGB, shape (64, 64, 3), uint8."""
    half = placed.height / 0.75 / 2
    edges = [(c - half) * SIZE for c in placed.centre] + [(c + half) * SIZE for c in placed.centre]
    edge = tuple(np.median(np.concatenate([pixels[0], pixels[-1]]), axis=0).round().astype(int).tolist())
    around = Image.new("RGB", (2 * SIZE, 2 * SIZE), edge)
    around.paste(Image.fromarray(pixels), (SIZE // 2, SIZE // 2))
    box = tuple(value + SIZE / 2 for value in edges)
    return np.asarray(around.resize((SIDE, SIDE), Image.Resampling.BOX, box=box))  # type: ignore[arg-type]  # four numbers


def _moved(placed: Placed, rng: np.random.Generator) -> Placed:
    """Not quite where it is said to be."""
    x, y = (c + placed.height * float(rng.uniform(-0.1, 0.1)) for c in placed.centre)
    return Placed(placed.thing, (x, y), placed.height * float(rng.uniform(0.85, 1.2)))


def _soften(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Some of the pictures with half or a third of their detail."""
    for divisor in (2, 3):
        chosen = torch.from_numpy(rng.random(len(pictures)) < 0.2)
        if chosen.any():
            coarse = F.interpolate(pictures[chosen], scale_factor=1 / divisor, mode="area")
            pictures[chosen] = F.interpolate(coarse, (SIDE, SIDE), mode="bilinear")
    return pictures


def load(file: Path = FILE) -> Classifier:
    """The trained classifier."""
    model = Classifier()
    model.load_state_dict({name: value.float() for name, value in load_file(file).items()}, strict=False)
    return model.eval()


@torch.no_grad()
def scores(model: Classifier, cuts: Sequence[np.ndarray]) -> Tensor:
    """How much each cut looks like each of `NAMES`: shape (n, names)."""
    found: Tensor = model(to_tensor(cuts))
    return found


def accuracy(model: Classifier, scenes: Sequence[Scene]) -> float:
    """The share of true renders, one thing in each, that are named rightly."""
    cuts = [cut_out(render(scene), scene.layout()[0]) for scene in scenes]
    named = scores(model, cuts).argmax(1).tolist()
    return sum(NAMES[n] == s.thing.name for n, s in zip(named, scenes, strict=True)) / len(scenes)


def train(recipe: Recipe, runs: Path, file: Path) -> float:
    """Train and save; returns the seconds spent."""
    torch.manual_seed(0)
    model = Classifier().train()
    seconds = Run("classifier", model, recipe.plan, runs).finish(ClassifierLoss(model, recipe.batch))
    save_file({k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}, file)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="processor threads to use")
    parser.add_argument("--runs", type=Path, default=Path(".training"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seconds = train(FULL, options.runs, FILE)
    told = {"seconds": round(seconds), "right on true renders": accuracy(load(), held_out())}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
