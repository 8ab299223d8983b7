"""The independent evaluator: a small classifier of objects and shapes, trained on ground-truth renders alone.

It evaluates the starter models and is never used to train them. `python -m training.classifier` trains it and writes
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

from training.augmentation import augment_images
from training.colours import colour_rgb
from training.draw import compose_image, images_to_tensor, render_scene
from training.objects import OBJECTS
from training.runs import TrainingPlan, TrainingRun, mixed_precision
from training.scenes import SceneSampler
from training.shapes import SHAPES
from training.world import SIZE, Placed, Scene, held_out_scenes

SIDE = 64
WEIGHTS_FILE = Path(__file__).parent / "classifier.safetensors"
CLASSES = (*OBJECTS, *SHAPES)
CLASS_INDEX = {name: number for number, name in enumerate(CLASSES)}
SCENE_MIX = {"plain": 0.6, "sized": 0.1, "spotted": 0.1, "counted": 0.08, "paired": 0.12}


class Classifier(nn.Sequential):
    """Classifies the object in the middle of an image of shape (3, 64, 64), in [-1, 1]."""

    def __init__(self) -> None:
        widths = (3, 32, 64, 128, 256)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
        super().__init__(*layers, nn.Conv2d(256, 256, 4), nn.ReLU(), nn.Flatten(), nn.Linear(256, len(CLASSES)))


@dataclass(frozen=True)
class ClassifierRecipe:
    plan: TrainingPlan
    batch: int = 96


FULL = ClassifierRecipe(
    TrainingPlan(steps=1100, learning_rate=2e-3, average_decay=0.99, save_every=500, decay_share=0.7)
)
QUICK = ClassifierRecipe(TrainingPlan(steps=2, learning_rate=1e-3, save_every=1), batch=4)


class ClassifierLoss:
    """Cross entropy on crops of rendered scenes, augmented and blurred."""

    def __init__(self, model: Classifier, batch: int) -> None:
        self.model, self.batch = model, batch
        self.sampler = SceneSampler(SCENE_MIX, objects=0.9)

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        crops, labels = [], []
        for _ in range(self.batch):
            scene = self.sampler.sample_scene(rng)
            is_named = rng.random() < 0.5
            background = colour_rgb(scene.background) if is_named else rng.uniform(0, 255, 3).astype(np.float32)
            layout = scene.layout()
            placed = layout[int(rng.integers(len(layout)))]
            image = compose_image(layout, background.astype(np.float32))
            crops.append(crop_thing(image, _jitter_placement(placed, rng)))
            labels.append(CLASS_INDEX[placed.thing.name])
        with mixed_precision():
            logits = self.model(_reduce_detail(augment_images(images_to_tensor(crops), rng), rng))
        return F.cross_entropy(logits.float(), torch.tensor(labels), label_smoothing=0.05)


def crop_thing(pixels: np.ndarray, placed: Placed) -> np.ndarray:
    """The square in which the thing fills three quarters of the height: RGB, shape (64, 64, 3), uint8."""
    half = placed.height / 0.75 / 2
    edges = [(c - half) * SIZE for c in placed.centre] + [(c + half) * SIZE for c in placed.centre]
    edge = tuple(np.median(np.concatenate([pixels[0], pixels[-1]]), axis=0).round().astype(int).tolist())
    padded = Image.new("RGB", (2 * SIZE, 2 * SIZE), edge)
    padded.paste(Image.fromarray(pixels), (SIZE // 2, SIZE // 2))
    box = tuple(value + SIZE / 2 for value in edges)
    return np.asarray(padded.resize((SIDE, SIDE), Image.Resampling.BOX, box=box))  # type: ignore[arg-type]  # four numbers


def _jitter_placement(placed: Placed, rng: np.random.Generator) -> Placed:
    """A random offset and scale, as image models place things inexactly."""
    x, y = (c + placed.height * float(rng.uniform(-0.1, 0.1)) for c in placed.centre)
    return Placed(placed.thing, (x, y), placed.height * float(rng.uniform(0.85, 1.2)))


def _reduce_detail(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Reduce some of the images to half or a third of their resolution."""
    for divisor in (2, 3):
        chosen = torch.from_numpy(rng.random(len(images)) < 0.2)
        if chosen.any():
            coarse = F.interpolate(images[chosen], scale_factor=1 / divisor, mode="area")
            images[chosen] = F.interpolate(coarse, (SIDE, SIDE), mode="bilinear")
    return images


def load_classifier(file: Path = WEIGHTS_FILE) -> Classifier:
    """The trained classifier."""
    model = Classifier()
    model.load_state_dict({name: value.float() for name, value in load_file(file).items()}, strict=False)
    return model.eval()


@torch.no_grad()
def classify_crops(model: Classifier, crops: Sequence[np.ndarray]) -> Tensor:
    """Logits of each of `CLASSES` for each crop: shape (n, classes)."""
    logits: Tensor = model(images_to_tensor(crops))
    return logits


def accuracy(model: Classifier, scenes: Sequence[Scene]) -> float:
    """The share of ground-truth renders, one thing in each, that are classified correctly."""
    crops = [crop_thing(render_scene(scene), scene.layout()[0]) for scene in scenes]
    predictions = classify_crops(model, crops).argmax(1).tolist()
    return sum(CLASSES[n] == s.thing.name for n, s in zip(predictions, scenes, strict=True)) / len(scenes)


def train_classifier(recipe: ClassifierRecipe, runs: Path, file: Path) -> float:
    """Train and save; returns the seconds spent."""
    torch.manual_seed(0)
    model = Classifier().train()
    seconds = TrainingRun("classifier", model, recipe.plan, runs).train(ClassifierLoss(model, recipe.batch))
    save_file({k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}, file)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="processor threads to use")
    parser.add_argument("--runs", type=Path, default=Path(".training"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seconds = train_classifier(FULL, options.runs, WEIGHTS_FILE)
    print(json.dumps({"seconds": round(seconds), "accuracy": accuracy(load_classifier(), held_out_scenes())}))


if __name__ == "__main__":
    main()
