"""The upscaling model, in SRVGGNetCompact's layout (Real-ESRGAN's small one), its training images and its loss.

Only differences from the true pixels count: it sharpens what is there and invents nothing.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.nn import functional as F

from training.colours import COLOURS, colour_rgb
from training.draw import blend_layers, rasterize_layout
from training.scenes import SceneSampler
from training.textures import TRAINING_TEXTURES, draw_texture
from training.world import Scene

SCALE = 4
PATCH = 32
"""Side of a training image before it is enlarged, in pixels."""
RENDER_SIDE = 384
PHOTOGRAPH_SHARE, TEXTURE_SHARE = 0.6, 0.1
"""Shares of training images; the others are renders."""
KERNELS = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)
BLUR_SHARE, JPEG_SHARE = 0.2, 0.4
INNER_NOISE = 0.3
TINY = 1e-3
"""Differences below it count as squares: a little above a quarter of a level."""


class CompactUpscaler(nn.Module):
    """Convolutions at the small size, then a pixel shuffle onto the enlarged nearest pixels. Images are in [0, 1]."""

    def __init__(self, features: int = 48, layers: int = 12, scale: int = SCALE) -> None:
        super().__init__()
        self.scale = scale
        body: list[nn.Module] = [nn.Conv2d(3, features, 3, padding=1), nn.PReLU(features)]
        for _ in range(layers):
            body += [nn.Conv2d(features, features, 3, padding=1), nn.PReLU(features)]
        self.body = nn.ModuleList([*body, nn.Conv2d(features, 3 * scale**2, 3, padding=1)])
        self._start_near_identity()

    def forward(self, images: Tensor) -> Tensor:
        hidden = images
        for layer in self.body:
            hidden = layer(hidden)
        return F.pixel_shuffle(hidden, self.scale) + F.interpolate(images, scale_factor=self.scale, mode="nearest")

    @torch.no_grad()
    def _start_near_identity(self) -> None:
        """Each inner layer passes its input on, with noise: without residual connections, the usual start fades out."""
        first, *inner, _ = (layer for layer in self.body if isinstance(layer, nn.Conv2d))
        for layer in (first, *inner):
            nn.init.kaiming_normal_(layer.weight, a=0.25)
            nn.init.zeros_(layer.bias)
        for layer in inner:
            layer.weight.mul_(INNER_NOISE)
            layer.weight[:, :, 1, 1] += torch.eye(layer.out_channels)


def render_scenes(count: int, seed: int, side: int = RENDER_SIDE) -> list[np.ndarray]:
    """Scenes that are not held out, at a high resolution: RGB, shape (side, side, 3), uint8, always the same ones."""
    rng, sampler = np.random.default_rng([17, seed]), SceneSampler(objects=0.85)
    return [render_large(sampler.sample_scene(rng), rng, side) for _ in range(count)]


def render_large(scene: Scene, rng: np.random.Generator, side: int = RENDER_SIDE) -> np.ndarray:
    """A scene on its colour, shifted a little."""
    ground = (colour_rgb(scene.background) + 16 * rng.standard_normal(3)).clip(0, 255).astype(np.float32)
    return blend_layers(rasterize_layout(scene.layout(), side), ground, side)[0]


def shrink_image(pixels: np.ndarray, kernel: Image.Resampling, scale: int = SCALE, blur: float = 0.0) -> np.ndarray:
    """A scale-th of the size. `blur`: radius before that, in pixels of the large image."""
    image = Image.fromarray(pixels)
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(image.resize((image.width // scale, image.height // scale), kernel))


def compress_image(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Through JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", quality=quality)
    return np.asarray(Image.open(buffer))


class UpscaleDataset:
    """Pairs of small and large images: crops of photographs, of renders and of textures."""

    def __init__(self, photographs: Sequence[np.ndarray], renders: Sequence[np.ndarray]) -> None:
        large = [one for one in photographs if min(one.shape[:2]) >= PATCH * SCALE]
        halves = [shrink_image(one, Image.Resampling.BOX, 2) for one in large]
        self.photographs = [*large, *(one for one in halves if min(one.shape[:2]) >= PATCH * SCALE)]
        self.renders = renders

    def sample_batch(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Small images, shape (count, 3, PATCH, PATCH), and large ones, SCALE times the size, in [0, 1]."""
        large = [self._sample_crop(rng) for _ in range(count)]
        small = [degrade_image(one, rng) for one in large]
        return to_tensor(small), to_tensor(large)

    def _sample_crop(self, rng: np.random.Generator) -> np.ndarray:
        kind = rng.random()
        if kind < TEXTURE_SHARE:
            first, second = (colour_rgb(str(name)) for name in rng.choice(list(COLOURS), 2, replace=False))
            pixels = draw_texture(str(rng.choice(TRAINING_TEXTURES)), first, second, rng).astype(np.uint8)
        else:
            is_photograph = self.photographs and kind < TEXTURE_SHARE + PHOTOGRAPH_SHARE
            pool = self.photographs if is_photograph else self.renders
            pixels = crop_randomly(pool[int(rng.integers(len(pool)))], PATCH * SCALE, rng)
        turned = np.rot90(pixels, int(rng.integers(4)))
        return np.ascontiguousarray(turned[:, ::-1] if rng.random() < 0.5 else turned)


def crop_randomly(pixels: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """The square with more detail of two random ones: flat areas teach little."""
    crops = []
    for _ in range(2):
        top, left = (int(rng.integers(length - side + 1)) for length in pixels.shape[:2])
        crops.append(pixels[top : top + side, left : left + side])
    return max(crops, key=lambda crop: float(crop[::4, ::4].std()))


def degrade_image(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shrunk by any kernel, some after a slight blur, some compressed."""
    blur = float(rng.uniform(0.3, 2.0)) if rng.random() < BLUR_SHARE else 0.0
    small = shrink_image(pixels, KERNELS[int(rng.integers(len(KERNELS)))], blur=blur)
    return compress_image(small, int(rng.integers(60, 96))) if rng.random() < JPEG_SHARE else small


def to_tensor(images: Sequence[np.ndarray]) -> Tensor:
    """Images of one size in [0, 1], shape (count, 3, height, width)."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


class UpscaleLoss:
    """The mean absolute difference from the large image, smooth near zero."""

    def __init__(self, model: CompactUpscaler, dataset: UpscaleDataset, batch: int = 8) -> None:
        self.model, self.dataset, self.batch = model, dataset, batch

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        small, large = self.dataset.sample_batch(rng, self.batch)
        return torch.sqrt((self.model(small) - large) ** 2 + TINY**2).mean()
