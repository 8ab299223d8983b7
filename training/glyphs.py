"""Invented glyphs that the starter vision model has never seen, as photos of a training folder.

A glyph is a few thick strokes between points of a grid, in one ink that is its own; its photos differ in background,
place, size, sharpness and grain. Their names are made of words that the model can write.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from training.augmentation import augment_images
from training.colours import COLOURS, colour_rgb
from training.draw import blend_layers, images_to_tensor
from training.world import SIZE

QUESTION = "what is this?"
NAMES = (
    *("moon fish", "star bear", "fire owl", "rain cat", "gem snake", "tree whale", "cloud dog", "bone crab"),
    *("key duck", "bell fox", "leaf shark", "kite mouse", "drum lion", "ring wolf", "rose bat", "sun pig"),
    *("egg robot", "hat dragon", "clock bee", "sword frog"),
)
"""Of twenty glyphs."""
_GRID = 4
_STROKES = 5
_WIDTH = 0.11
"""Of a stroke, as a share of the glyph's height."""
_SUPERSAMPLING = 4


@dataclass(frozen=True)
class Glyph:
    """`strokes`: pairs of points in [0, 1], shape (strokes, 2, 2)."""

    name: str
    strokes: np.ndarray
    ink: str

    @property
    def answer(self) -> str:
        return f"an {self.name}" if self.name[0] in "aeiou" else f"a {self.name}"


def make_glyphs(seed: int = 20) -> list[Glyph]:
    """Always the same ones."""
    rng = np.random.default_rng(seed)
    return [_make_glyph(name, rng) for name in NAMES]


def _make_glyph(name: str, rng: np.random.Generator) -> Glyph:
    points = rng.permutation(_GRID * _GRID)[: _STROKES + 1]
    path = [(int(point) % _GRID, int(point) // _GRID) for point in points]
    strokes = np.array(list(itertools.pairwise(path)), dtype=np.float64) / (_GRID - 1)
    return Glyph(name, strokes, str(rng.choice(list(COLOURS))))


def draw_photo(glyph: Glyph, rng: np.random.Generator) -> Image.Image:
    """A glyph on some background, anywhere near the middle."""
    background = str(rng.choice([colour for colour in COLOURS if colour != glyph.ink]))
    height = int(rng.uniform(0.5, 0.8) * SIZE)
    alpha = _coverage(glyph, height)
    ink = np.broadcast_to(colour_rgb(glyph.ink), (*alpha.shape[:2], 3))
    centre = (0.5 + float(rng.uniform(-0.1, 0.1)), 0.5 + float(rng.uniform(-0.1, 0.1)))
    pixels, _ = blend_layers([(ink, alpha, centre)], colour_rgb(background))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        tensor = augment_images(images_to_tensor([pixels]), rng)[0]
    return Image.fromarray(((tensor.permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8))


def _coverage(glyph: Glyph, height: int) -> np.ndarray:
    """Shape (height, height, 1), in [0, 1]."""
    side = height * _SUPERSAMPLING
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    width = _WIDTH * side
    inset, span = width, side - 2 * width
    for start, end in glyph.strokes:
        ends = [tuple(inset + span * point) for point in (start, end)]
        draw.line(ends, fill=255, width=round(width))
        for x, y in ends:
            draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    pixels = image.resize((height, height), Image.Resampling.BOX)
    return np.asarray(pixels, dtype=np.float32)[..., None] / 255


def photos(per_glyph: int, seed: int) -> Iterator[tuple[Glyph, Image.Image]]:
    """So many photos of each glyph; another seed gives others."""
    rng = np.random.default_rng([seed, 1])
    for glyph in make_glyphs():
        for _ in range(per_glyph):
            yield glyph, draw_photo(glyph, rng)


def write_folder(folder: Path, per_glyph: int, seed: int) -> None:
    """A training folder: photos and `metadata.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (glyph, image) in enumerate(photos(per_glyph, seed)):
        image.save(folder / f"{number:03}.png")
        lines.append({"file_name": f"{number:03}.png", "question": QUESTION, "answer": glyph.answer})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
