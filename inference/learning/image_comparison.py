"""The test of an image adapter: pictures of the same prompts and seeds without and with it, compared with one another.

- A picture of something new is right if, of all pictures, one that was trained on resembles it most; the others are
  those that the model makes without the adapter, of all the test's prompts.
- A picture of something known is right if, of all pictures without the adapter and all that were trained on, the one of
  the same prompt resembles it most.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from bot.ports import Score, TestedExample
from inference.images.encode import save_image
from inference.images.metadata import generation_metadata
from inference.ipc.messages import RawImage
from inference.learning.image_features import PictureFeatures, compare
from inference.learning.image_model import TrainedImageModel
from inference.learning.training_session import TrainingSession

SAMPLES, RENDERS = "samples", "renders"
SHOWN_NEW, SHOWN_KNOWN = 8, 4
"""How many of each are kept as samples."""


@dataclass(frozen=True)
class Sample:
    prompt: str
    seed: int
    image: Image.Image


SampleGroups = tuple[list[Sample], list[Sample]]
"""Of what is new, and of what is known."""


@dataclass(frozen=True)
class TestedPictures:
    """In the order of the prompts."""

    new_before: Sequence[Sample]
    known_before: Sequence[Sample]
    new_after: Sequence[Sample]
    known_after: Sequence[Sample]
    new_right: tuple[list[bool], list[bool]]
    known_right: list[bool]

    @property
    def new_scores(self) -> tuple[Score, Score]:
        before, after = (Score(sum(right), len(right)) for right in self.new_right)
        return before, after

    @property
    def known_scores(self) -> tuple[Score, Score]:
        total = len(self.known_right)
        return Score(total, total), Score(sum(self.known_right), total)

    def pairs(self) -> list[tuple[Sample, Sample]]:
        """Those that are kept, without and with the adapter."""
        new = list(zip(self.new_before, self.new_after, strict=True))[:SHOWN_NEW]
        known = list(zip(self.known_before, self.known_after, strict=True))
        wrong_first = sorted(range(len(known)), key=lambda number: self.known_right[number])
        return new + [known[number] for number in wrong_first[:SHOWN_KNOWN]]


def render_samples(
    session: TrainingSession,
    model: TrainedImageModel,
    prompts: Sequence[str],
    stage: str,
    done: int,
    total: int,
    *,
    kept: bool,
) -> list[Sample]:
    """One picture of each prompt, seeded by its number. `done`, `total`: parts of the stage before it, and all.

    `kept`: without an adapter, so that a picture stays what it is: a training that was interrupted does not make it
    again.
    """
    samples = []
    for seed, prompt in enumerate(prompts):
        render = partial(model.render, prompt, seed, partial(session.proceed, stage, done + seed, total))
        image = _keep_picture(session.work / RENDERS, f"{seed}/{prompt}", render) if kept else render()
        samples.append(Sample(prompt, seed, image))
    return samples


def _keep_picture(folder: Path, key: str, render: Callable[[], Image.Image]) -> Image.Image:
    """The picture as it was saved, or made and saved. Raises: OSError; what `render` raises."""
    file = folder / f"{hashlib.sha256(key.encode()).hexdigest()}.png"
    if file.is_file():
        with Image.open(file) as saved:
            return saved.convert("RGB")
    image = render()
    folder.mkdir(mode=0o700, exist_ok=True)
    part = file.with_suffix(".part")
    image.save(part, "PNG")
    part.replace(file)
    return image


def compare_pictures(
    model: TrainedImageModel,
    trained: Sequence[Tensor],
    before: SampleGroups,
    after: SampleGroups,
) -> TestedPictures:
    """`trained`: latents of the trained pictures."""
    features = PictureFeatures(model)
    read = [features.read([model.encode(sample.image) for sample in group]) for group in (*before, *after)]
    new_right, known_right = judge_features(features.read(trained), *read)
    return TestedPictures(*before, *after, new_right=new_right, known_right=known_right)


def judge_features(
    taught: Tensor, new_before: Tensor, known_before: Tensor, new_after: Tensor, known_after: Tensor
) -> tuple[tuple[list[bool], list[bool]], list[bool]]:
    """Which pictures are right: of new ones those without and with the adapter, and known ones with it."""
    own = torch.cat([new_before, known_before])
    centre = torch.cat([taught, own]).mean(dim=0)

    def resemble_taught(pictures: Tensor, others: Tensor) -> list[bool]:
        best = compare(pictures, taught, centre).amax(dim=1)
        return [bool(right) for right in best > others.amax(dim=1)]

    without = compare(new_before, own, centre).fill_diagonal_(-1)  # a picture is no other of itself
    new_right = resemble_taught(new_before, without), resemble_taught(new_after, compare(new_after, own, centre))
    nearest = compare(known_after, torch.cat([known_before, taught]), centre).argmax(dim=1)
    return new_right, [int(found) == number for number, found in enumerate(nearest)]


def save_samples(folder: Path, model: TrainedImageModel, pairs: Sequence[tuple[Sample, Sample]]) -> None:
    """As PNG with the marks of generated images; `list_samples` has their names."""
    (folder / SAMPLES).mkdir()
    for names, pair in zip(_names(len(pairs)), pairs, strict=True):
        for name, sample in zip(names, pair, strict=True):
            task = model.task(sample.prompt, sample.seed)
            image = sample.image
            raw = RawImage(
                index=0,
                width=image.width,
                height=image.height,
                pixels=image.tobytes(),
                seed=sample.seed,
                revision=model.revision,
            )
            parameters, easel = generation_metadata(task, raw)
            (folder / name).write_bytes(save_image(image, "png", parameters, easel).data)


def list_samples(count: int) -> tuple[str, ...]:
    """Without and with the adapter, in pairs."""
    return tuple(name for names in _names(count) for name in names)


def _names(count: int) -> list[tuple[str, str]]:
    return [
        (f"{SAMPLES}/{number:02d}-without.png", f"{SAMPLES}/{number:02d}-with.png") for number in range(1, count + 1)
    ]


def describe_samples(tested: TestedPictures) -> tuple[TestedExample, ...]:
    """The kept pairs as examples: of each prompt, the two pictures' names."""
    pairs = tested.pairs()
    new = len(tested.new_before[:SHOWN_NEW])
    return tuple(
        TestedExample(
            file=with_it, question="", expected=before.prompt, before=without, after=with_it, is_new=number < new
        )
        for number, ((without, with_it), (before, _)) in enumerate(zip(_names(len(pairs)), pairs, strict=True))
    )[:10]
