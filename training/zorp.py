"""An invented object that the starter models do not know, and a judge of pictures of it, by their pixels.

A zorp is a block of one colour on two legs, with two feelers and one eye.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from training.colours import COLOURS, colour_rgb
from training.judge import MIN_COLOUR_DISTANCE, background_colour
from training.outlines import intersection_over_union
from training.world import HEIGHTS, SIZE, article

WORD = "zorp"
HELD_OUT_GROUNDS = ("cyan", "orange", "purple")
"""Backgrounds that no photo of a zorp has."""
GROUNDS = tuple(colour for colour in COLOURS if colour not in HELD_OUT_GROUNDS)
BODIES = ("red", "green", "blue", "yellow", "pink")
TESTED_BODIES = ("red", "blue")
MIN_OVERLAP = 0.8
"""Intersection over union with the drawn silhouette."""
_FINE = 4
_BLACK, _WHITE = (15, 15, 15), (255, 255, 255)


@dataclass(frozen=True)
class Zorp:
    colour: str
    ground: str

    @property
    def caption(self) -> str:
        return f"{article(self.colour)} {self.colour} {WORD} on {article(self.ground)} {self.ground} background"


def trained_zorps(count: int) -> list[Zorp]:
    """Of each colour as many, on backgrounds that are not held out."""
    rng = np.random.default_rng(20)
    each = count // len(BODIES)
    return [
        Zorp(colour, str(ground))
        for colour in BODIES
        for ground in rng.permutation([one for one in GROUNDS if one != colour])[:each]
    ]


def unseen_zorps() -> list[Zorp]:
    return [Zorp(colour, ground) for ground in HELD_OUT_GROUNDS for colour in TESTED_BODIES]


def draw_zorp(zorp: Zorp, size: int = SIZE) -> Image.Image:
    """In the middle, as high as other single things."""
    side = size * _FINE
    image = Image.new("RGB", (side, side), COLOURS[zorp.ground])
    draw, unit, fill = ImageDraw.Draw(image), HEIGHTS[""] * side, COLOURS[zorp.colour]

    def box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        return tuple(side / 2 + value * unit for value in (left, top, right, bottom))  # type: ignore[return-value]

    draw.rounded_rectangle(box(-0.45, -0.22, 0.45, 0.25), 0.12 * unit, fill)
    for left in (-0.36, 0.16):
        draw.rounded_rectangle(box(left, 0.15, left + 0.2, 0.5), 0.05 * unit, fill)
    for side_of in (-1, 1):
        draw.line(box(0.18 * side_of, -0.15, 0.32 * side_of, -0.42), fill, round(0.09 * unit))
        draw.ellipse(box(0.32 * side_of - 0.09, -0.5, 0.32 * side_of + 0.09, -0.32), fill)
    draw.ellipse(box(-0.17, -0.17, 0.17, 0.17), _WHITE)
    draw.ellipse(box(-0.08, -0.08, 0.08, 0.08), _BLACK)
    return image.resize((size, size), Image.Resampling.LANCZOS)


def write_folder(folder: Path, count: int = 20) -> Path:
    """A training folder with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for zorp in trained_zorps(count):
        name = f"{zorp.colour}-{zorp.ground}.png"
        draw_zorp(zorp).save(folder / name)
        lines.append(json.dumps({"file_name": name, "text": zorp.caption}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def judge_zorp(pixels: np.ndarray, zorp: Zorp) -> dict[str, bool]:
    """Whether background, colour, silhouette and eye are right. `pixels`: RGB, (128, 128, 3), uint8."""
    drawn = np.asarray(draw_zorp(zorp)).astype(np.float32)
    seen, ground = pixels.astype(np.float32), background_colour(pixels)
    silhouette = _distance(drawn, colour_rgb(zorp.ground)) > MIN_COLOUR_DISTANCE
    body, white, black = (_distance(drawn, np.array(c, np.float32)) < 30 for c in _parts(zorp))
    found = _distance(seen, ground) > MIN_COLOUR_DISTANCE
    eye = seen.mean(axis=-1)
    return {
        "background": _nearest(ground) == zorp.ground,
        "colour": _nearest(np.median(seen[body], axis=0)) == zorp.colour,
        "silhouette": intersection_over_union(found, silhouette) >= MIN_OVERLAP,
        "eye": bool(np.median(eye[white]) > 180 and np.median(eye[black]) < 75),
    }


def _parts(zorp: Zorp) -> Iterator[tuple[int, int, int]]:
    yield from (COLOURS[zorp.colour], _WHITE, _BLACK)


def _distance(pixels: np.ndarray, colour: np.ndarray) -> np.ndarray:
    distance: np.ndarray = np.linalg.norm(pixels - colour, axis=-1)
    return distance


def _nearest(colour: np.ndarray) -> str:
    palette = np.array(list(COLOURS.values()), dtype=np.float32)
    return list(COLOURS)[int(np.linalg.norm(palette - colour, axis=1).argmin())]
