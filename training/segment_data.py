"""Training images for text-to-mask: things anywhere on flat and textured grounds, phrases and their masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from training.augmentation import augment_images
from training.colours import COLOURS, colour_rgb
from training.draw import blend_layers, images_to_tensor, rasterize_layout
from training.phrases import PhraseWriter
from training.runs import mixed_precision
from training.scenes import SceneSampler
from training.textures import TRAINING_TEXTURES, draw_texture
from training.vision_data import HEIGHT_STEP
from training.world import SIZE, Placed, Scene, Thing, is_held_out, is_visible

COUNT_SHARES = {1: 0.4, 2: 0.42, 3: 0.18}
"""How often an image has so many things."""
HEIGHT_RANGES = {1: (0.25, 0.95), 2: (0.25, 0.55), 3: (0.2, 0.42)}
TEXTURED_SHARE = 0.6
RECONSTRUCTED_SHARE = 0.125
COLOUR_JITTER = 16.0
COLOUR_SHARE = 0.75
"""How often the phrase for a shape names its colour."""
SAME_SHAPE_SHARE = 0.4
"""How often a missing thing differs from a shape in the scene by its colour alone."""
MAX_OVERLAP = 0.25
"""How much of the smaller one's height two things may share, in either direction."""


@dataclass(frozen=True)
class MaskedScene:
    """An image, its things and how much of each pixel each of them is.

    Attributes:
        pixels: RGB, shape (size, size, 3), uint8.
        masks: shape (things, size, size), float32 in [0, 1].
        ground: the name of the colour or of the texture behind the things.
    """

    things: tuple[Thing, ...]
    pixels: np.ndarray
    masks: np.ndarray
    ground: str = ""

    def mask_of(self, thing: Thing) -> np.ndarray:
        """The union of the things that the name fits, any colour if it has none."""
        fits = [fits_name(one, thing) for one in self.things]
        return self.masks[fits].sum(axis=0).clip(0, 1) if any(fits) else np.zeros_like(self.masks[0])

    @property
    def subject(self) -> np.ndarray:
        """The union of all things."""
        return self.masks.sum(axis=0).clip(0, 1)


def fits_name(thing: Thing, name: Thing) -> bool:
    """Whether a thing is meant by a name, whose colour may be missing."""
    return thing.name == name.name and name.colour in ("", thing.colour)


class MaskSampler:
    """Samples scenes with masks, none of them held out."""

    def __init__(self, textures: Sequence[str] = TRAINING_TEXTURES) -> None:
        self.sampler, self.textures = SceneSampler(objects=0.8), textures

    def sample_scene(self, rng: np.random.Generator, count: int = 0) -> MaskedScene:
        """One scene of `count` things, or of a random number."""
        count = count or int(rng.choice(list(COUNT_SHARES), p=list(COUNT_SHARES.values())))
        names = self.textures if rng.random() < TEXTURED_SHARE else tuple(COLOURS)
        while True:
            scene = Scene(tuple(self.sampler.sample_thing(rng) for _ in range(count)), str(rng.choice(names)))
            if not is_held_out(scene) and (grounds := visible_colours(scene.things, rng)):
                return render_masked(scene, grounds, rng)


def visible_colours(things: Sequence[Thing], rng: np.random.Generator) -> list[str]:
    """The named colours on which all things are visible, shuffled."""
    colours = [colour for colour in COLOURS if all(is_visible(thing, colour) for thing in things)]
    return list(rng.permutation(colours))


def render_masked(scene: Scene, colours: Sequence[str], rng: np.random.Generator) -> MaskedScene:
    """Render things at random places on the scene's colour, or on its texture of two of `colours`."""
    if scene.background in COLOURS:
        named = scene.background if scene.background in colours else colours[0]
        ground = (colour_rgb(named) + COLOUR_JITTER * rng.standard_normal(3)).clip(0, 255)
    else:
        first, second = (colour_rgb(colours[n % len(colours)]) for n in (0, 1))
        second = first + rng.uniform(0.4, 1.0) * (second - first)
        ground = draw_texture(scene.background, first, second, rng)
    pixels, masks = blend_layers(rasterize_layout(place_things(scene.things, rng)), ground)
    return MaskedScene(scene.things, pixels, masks, scene.background)


def place_things(things: Sequence[Thing], rng: np.random.Generator) -> list[Placed]:
    """Random places and heights, with little overlap; the heights shrink until all fit."""
    low, high = HEIGHT_RANGES[len(things)]
    while True:
        placed: list[Placed] = []
        for thing in things:
            height = max(HEIGHT_STEP, round(rng.uniform(low, high) * SIZE / HEIGHT_STEP) * HEIGHT_STEP) / SIZE
            x, y = rng.uniform(height * 0.45, 1 - height * 0.45, 2).tolist()
            placed.append(Placed(thing, (x, y), height))
        if not any(_overlap(one, other) for n, one in enumerate(placed) for other in placed[:n]):
            return placed
        high = max(low, high * 0.97)


def _overlap(one: Placed, other: Placed) -> bool:
    distance = max(abs(a - b) for a, b in zip(one.centre, other.centre, strict=True))
    return distance < (one.height + other.height) / 2 - MAX_OVERLAP * min(one.height, other.height)


@torch.no_grad()
def reconstruct_images(autoencoder: AutoencoderKL, images: Tensor) -> Tensor:
    """Through the autoencoder, from latents with a little noise."""
    noise_scale = 0.15 / float(autoencoder.config.scaling_factor)
    with mixed_precision():
        latents = autoencoder.encode(images).latent_dist.mean
        latents = latents + noise_scale * torch.rand(len(latents), 1, 1, 1) * torch.randn_like(latents)
        reconstructed: Tensor = autoencoder.decode(latents).sample.float().clamp(-1, 1)
    return reconstructed


class MaskDataset:
    """Samples batches of images with several phrases each.

    Some of those on flat grounds pass through the image model's autoencoder, if there is one, as generated images do.
    """

    def __init__(self, queries: int = 3, autoencoder: AutoencoderKL | None = None) -> None:
        self.sampler, self.queries, self.autoencoder = MaskSampler(), queries, autoencoder

    def sample_batch(self, rng: np.random.Generator, count: int) -> tuple[Tensor, list[MaskedScene], list[str], Tensor]:
        """Images, shape (count, 3, size, size) in [-1, 1]; their scenes; `queries` phrases for each image in turn; and
        the masks of the phrases, shape (count * queries, size, size)."""
        scenes = [self.sampler.sample_scene(rng) for _ in range(count)]
        images = images_to_tensor([scene.pixels for scene in scenes])
        flat = [number for number, scene in enumerate(scenes) if scene.ground in COLOURS]
        if self.autoencoder is not None and flat:
            chosen = flat[: math.ceil(RECONSTRUCTED_SHARE * count)]
            images[chosen] = reconstruct_images(self.autoencoder, images[chosen])
        images = augment_images(images, rng)
        pairs = [pair for scene in scenes for pair in self._sample_queries(scene, rng)]
        masks = torch.from_numpy(np.stack([mask for _, mask in pairs]))
        return images, scenes, [phrase for phrase, _ in pairs], masks

    def _sample_queries(self, scene: MaskedScene, rng: np.random.Generator) -> list[tuple[str, np.ndarray]]:
        """One thing that is there, one that is not; then a mixture of everything."""
        writer = PhraseWriter(rng)
        pairs = [self._present(scene, writer), self._absent(scene, writer)]
        while len(pairs) < self.queries:
            kind = rng.random()
            if kind < 0.45:
                pairs.append(self._present(scene, writer))
            elif kind < 0.7:
                pairs.append(self._absent(scene, writer))
            elif kind < 0.88:
                pairs.append((writer.write_ground(), 1 - scene.subject))
            elif kind < 0.96:
                pairs.append((writer.write_subject(), scene.subject))
            else:
                pairs.append((writer.write_unknown(), np.zeros_like(scene.masks[0])))
        return pairs

    def _present(self, scene: MaskedScene, writer: PhraseWriter) -> tuple[str, np.ndarray]:
        thing = writer.pick_thing(scene.things)
        name = Thing(thing.name, thing.colour if writer.chance(COLOUR_SHARE) else "")
        return writer.write_thing(name), scene.mask_of(name)

    def _absent(self, scene: MaskedScene, writer: PhraseWriter) -> tuple[str, np.ndarray]:
        """Something that is not in the scene; for shapes often only its colour differs."""
        while True:
            thing = self.sampler.sampler.sample_thing(writer.rng)
            shapes = [one for one in scene.things if one.colour]
            if shapes and writer.chance(SAME_SHAPE_SHARE):
                thing = Thing(writer.pick_thing(shapes).name, writer.pick(COLOURS))
            if not any(fits_name(one, thing) for one in scene.things):
                return writer.write_thing(thing), np.zeros_like(scene.masks[0])
