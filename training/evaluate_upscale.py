"""Evaluates `starter-upscale` against Lanczos, on photographs and on held-out renders, and prints a table.

Run `python -m training.evaluate_upscale --photographs FOLDER`, or with `--checkpoint .training/upscale.pt` during a
training. The photographs must not be those of the training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from training.photographs import load_photographs
from training.upscale import CompactUpscaler, compress_image, render_large, shrink_image, to_tensor
from training.world import held_out_scenes

PHOTOGRAPHS, RENDERS = 20, 40
LARGEST, SIDE = 1024, 384
"""Photographs are shrunk to this longer side, in pixels; of each a square from its middle is used."""
QUALITY = 75
SCALES = (2, 4)
RENDER_SIDE = 512


class Upscaler:
    """A trained model, used as Easel does: enlarged four times, then resized to the scale asked for."""

    def __init__(self, model: CompactUpscaler) -> None:
        self.model = model.eval()

    @classmethod
    def from_folder(cls, folder: Path) -> Upscaler:
        """A saved model."""
        model = CompactUpscaler()
        weights = load_file(folder / "model.safetensors")
        model.load_state_dict({name: value.float() for name, value in weights.items()})
        return cls(model)

    @classmethod
    def from_checkpoint(cls, checkpoint: Path) -> Upscaler:
        """The averaged weights of a training that is not finished."""
        model = CompactUpscaler()
        model.load_state_dict(torch.load(checkpoint, weights_only=True)["average"])
        return cls(model)

    @torch.no_grad()
    def enlarge(self, small: np.ndarray, scale: int) -> np.ndarray:
        """An image at a multiple of its size."""
        large = self.model(to_tensor([small]))[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
        return resize_image(large, small.shape[1] * scale, small.shape[0] * scale)


def resize_image(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resized by Lanczos, unless it has the size."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def luma_psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of the luma, in dB."""
    weights = np.array([0.299, 0.587, 0.114])
    difference = (one.astype(np.float64) - other.astype(np.float64)) @ weights
    return float(10 * np.log10(255**2 / max(1e-9, float(np.mean(difference**2)))))


def evaluation_photographs(folder: Path) -> list[np.ndarray]:
    """Squares from the middle of the first photographs by name."""
    return [crop_middle(one) for one in load_photographs(folder, LARGEST)[:PHOTOGRAPHS]]


def crop_middle(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """A square whose side is a multiple of all scales."""
    side = min(side, *pixels.shape[:2]) // 4 * 4
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def held_out_renders(count: int = RENDERS) -> list[np.ndarray]:
    """Scenes that no training has seen."""
    rng = np.random.default_rng([17, 99])
    return [render_large(scene, rng, RENDER_SIDE) for scene in held_out_scenes()[:count]]


def compare(upscaler: Upscaler, images: Sequence[np.ndarray]) -> dict[str, dict[str, Any]]:
    """By scale and degradation: the mean PSNR of the model and of Lanczos, and how often the model is not below."""
    results = {}
    for name, rows in _score(upscaler, images):
        own, lanczos = np.array(rows).T
        results[name] = {
            "model, dB": round(float(own.mean()), 2),
            "Lanczos, dB": round(float(lanczos.mean()), 2),
            "not below": f"{int((own >= lanczos - 0.005).sum())} of {len(rows)}",
        }
    return results


def _score(upscaler: Upscaler, images: Sequence[np.ndarray]) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    for scale in SCALES:
        small = [shrink_image(one, Image.Resampling.BICUBIC, scale) for one in images]
        for name, inputs in ((f"x{scale}", small), (f"x{scale}, JPEG", [compress_image(s, QUALITY) for s in small])):
            yield (
                name,
                [
                    (
                        luma_psnr(upscaler.enlarge(one, scale), true),
                        luma_psnr(resize_image(one, true.shape[1], true.shape[0]), true),
                    )
                    for one, true in zip(inputs, images, strict=True)
                ],
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/starter-upscale"))
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--photographs", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    upscaler = (
        Upscaler.from_checkpoint(options.checkpoint) if options.checkpoint else Upscaler.from_folder(options.model)
    )
    results = {
        "photographs": compare(upscaler, evaluation_photographs(options.photographs)),
        "held-out renders": compare(upscaler, held_out_renders()),
    }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
