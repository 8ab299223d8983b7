"""Training images for the outline ControlNet: things in any place, size and pose, and their outline maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.colours import colour_rgb
from training.draw import Layer, blend_layers, images_to_tensor, rasterize_layout, rasterize_thing
from training.outlines import outline_edges, outline_silhouettes
from training.prompts import PromptWriter
from training.scenes import PAIRED, PLAIN, SceneSampler
from training.world import SIZE, Scene, Thing, default_background

CONTROL_MIX = {PLAIN: 0.85, PAIRED: 0.15}
USUAL_SHARE = 0.15
"""How often things are where the prompt alone would place them."""
MAPLESS_SHARE = 0.05
"""How often the map is empty; things are then where the prompt alone would place them."""
EDGE_SHARE = 0.5
"""How often the map has all edges instead of the silhouettes."""
PROMPTLESS_SHARE = 0.1
HEIGHT_STEP = 4
HEIGHTS, PAIR_HEIGHTS = (0.32, 0.92), (0.28, 0.52)
LARGEST_ANGLE, LARGEST_STRETCH = 35.0, 1.25


@dataclass(frozen=True)
class Pose:
    """How a thing is shown.

    Attributes:
        centre: as shares of the image's side.
        height: before the rotation, as a share of the image's.
        angle: in degrees, counter-clockwise.
        stretch: its width as a share of its usual one.
    """

    centre: tuple[float, float]
    height: float
    angle: float = 0.0
    stretch: float = 1.0
    is_mirrored: bool = False


def pose_thing(thing: Thing, pose: Pose) -> Layer:
    """Rasterize a thing in a pose."""
    side = max(HEIGHT_STEP, round(pose.height * SIZE / HEIGHT_STEP) * HEIGHT_STEP)
    pixels, alpha = rasterize_thing(thing, side)
    image = Image.fromarray(np.concatenate([pixels, 255 * alpha], axis=2).astype(np.uint8), "RGBA")
    if pose.is_mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.resize((max(2, round(image.width * pose.stretch)), image.height), Image.Resampling.BICUBIC)
    image = image.rotate(pose.angle, Image.Resampling.BICUBIC, expand=True)
    posed = np.asarray(image, dtype=np.float32)
    return posed[..., :3], posed[..., 3:] / 255, pose.centre


def sample_pose(rng: np.random.Generator, heights: tuple[float, float] = HEIGHTS, side: float | None = None) -> Pose:
    """A random pose, almost all of it inside the image; `side`: the middle of its range across."""
    height = float(rng.uniform(*heights))
    x, y = (float(rng.uniform(0.45 * height, 1 - 0.45 * height)) for _ in range(2))
    if side is not None:
        x = side + float(rng.uniform(-0.04, 0.04))
    angle = float(rng.uniform(-LARGEST_ANGLE, LARGEST_ANGLE)) if rng.random() < 0.7 else 0.0
    stretch = float(LARGEST_STRETCH ** rng.uniform(-1, 1))
    return Pose((x, y), height, angle, stretch, bool(rng.random() < 0.5))


def sample_layers(scene: Scene, rng: np.random.Generator) -> list[Layer]:
    """The things of a scene in random poses, a pair from left to right as in the prompt."""
    if not scene.is_pair:
        return [pose_thing(scene.thing, sample_pose(rng))]
    return [
        pose_thing(thing, sample_pose(rng, PAIR_HEIGHTS, side))
        for thing, side in zip(scene.things, (0.27, 0.73), strict=True)
    ]


class ControlDataset:
    """Samples images, maps and prompts; none of the scenes is held out."""

    def __init__(self) -> None:
        self.sampler = SceneSampler(CONTROL_MIX, objects=0.85)

    def sample_batch(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, list[str]]:
        """Images, shape (count, 3, size, size) in [-1, 1]; their maps, the same shape in [0, 1]; and prompts."""
        writer = PromptWriter(rng)
        images, maps, prompts = [], [], []
        for _ in range(count):
            scene = self.sampler.sample_scene(rng)
            is_mapless = writer.chance(MAPLESS_SHARE)
            is_usual = is_mapless or writer.chance(USUAL_SHARE)
            layers = rasterize_layout(scene.layout()) if is_usual else sample_layers(scene, rng)
            pixels, masks = blend_layers(layers, colour_rgb(scene.background))
            images.append(pixels)
            maps.append(np.zeros((SIZE, SIZE), dtype=bool) if is_mapless else sample_map(pixels, masks, rng))
            prompts.append("" if writer.chance(PROMPTLESS_SHARE) else write_scene_prompt(scene, writer))
        return images_to_tensor(images), maps_to_tensor(maps), prompts


def sample_map(pixels: np.ndarray, masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An outline map of either kind, with lines of different widths and thresholds."""
    if rng.random() >= EDGE_SHARE:
        return outline_silhouettes(masks, int(rng.integers(1, 4)))
    low = float(rng.uniform(0.03, 0.08))
    return outline_edges(pixels, low, low * float(rng.uniform(1.5, 3)), float(rng.uniform(0.6, 1.4)))


def write_scene_prompt(scene: Scene, writer: PromptWriter) -> str:
    """A prompt that may omit the background where it is the default one."""
    is_default = scene.background == default_background(scene.thing)
    return writer.write_prompt(scene, says_background=not (is_default and writer.chance(0.5)))


def maps_to_tensor(maps: Sequence[np.ndarray]) -> Tensor:
    """Maps as a ControlNet takes them: shape (n, 3, size, size), float32 in [0, 1]."""
    return torch.from_numpy(np.stack(maps)).float()[:, None].repeat(1, 3, 1, 1)
