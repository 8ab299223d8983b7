"""Cuts images into overlapping tiles and joins their enlarged results without seams.

Where two tiles overlap, each one's result is used up to the middle; around it, they are blended if what a pixel depends
on may reach beyond a tile. Memory is bounded by the tile, not by the image.
"""

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

FADE = 8
"""Pixels of the small image, to both sides of the middle of an overlap, in which two results are blended."""
BLENDED_OVERLAP = 32
"""Pixels that tiles share where their results can differ."""


@dataclass(frozen=True)
class TilePlan:
    """How large tiles are, and how they overlap: pixels of the small image.

    `multiple`: tiles begin and end at multiples of it, as the network's own windows do.
    """

    side: int
    overlap: int
    fade: int
    multiple: int = 1


def plan_tiles(side: int, radius: int, multiple: int) -> TilePlan:
    """Tiles whose results equal the undivided image's if `radius`, of what a pixel depends on, fits in; 0: unknown."""
    side = max(multiple, side // multiple * multiple)
    if 0 < 2 * radius <= side // 2:
        return TilePlan(side, 2 * radius, 0, multiple)
    overlap = min(BLENDED_OVERLAP, side // 2)
    return TilePlan(side, overlap, min(FADE, overlap // 4), multiple)


@dataclass(frozen=True)
class Span:
    """One side of a tile: [start, stop), and the middle of its overlap with the tile before; 0: there is none."""

    start: int
    stop: int
    joint: int = 0


def split_side(length: int, plan: TilePlan) -> list[Span]:
    """Equally long spans that cover a side, whose length is a multiple of the plan's."""
    if length <= plan.side:
        return [Span(0, length)]
    stride = max(plan.multiple, plan.side - plan.overlap - plan.multiple + 1)
    count = math.ceil((length - plan.side) / stride) + 1
    starts = [(length - plan.side) * number // (count - 1) // plan.multiple * plan.multiple for number in range(count)]
    joints = [0, *((after + before + plan.side) // 2 for before, after in itertools.pairwise(starts))]
    return [Span(start, start + plan.side, joint) for start, joint in zip(starts, joints, strict=True)]


def pad_to_multiple(pixels: np.ndarray, multiple: int) -> np.ndarray:
    """Mirrored beyond its right and lower edge until its sides are multiples."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, -height % multiple), (0, -width % multiple), (0, 0)), mode="symmetric")


@dataclass
class TiledPlane:
    """Three channels of an image and their enlarged result, in tiles, row by row.

    Attributes:
        pixels: RGB, shape (height, width, 3), uint8.
        large: the result, as far as it is done; `taken` and `done` count tiles.
    """

    pixels: np.ndarray
    scale: int
    plan: TilePlan
    taken: int = 0
    done: int = 0
    tiles: list[tuple[Span, Span]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.height, self.width = self.pixels.shape[:2]
        self.pixels = pad_to_multiple(self.pixels, self.plan.multiple)
        height, width = self.pixels.shape[:2]
        rows, columns = split_side(height, self.plan), split_side(width, self.plan)
        self.tiles = [(row, column) for row in rows for column in columns]
        self._large = np.zeros((height * self.scale, width * self.scale, 3), dtype=np.uint8)

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Height and width, the same of all its tiles."""
        row, column = self.tiles[0]
        return row.stop - row.start, column.stop - column.start

    @property
    def large(self) -> np.ndarray:
        """The result, without what was padded."""
        return self._large[: self.height * self.scale, : self.width * self.scale]

    def take_tile(self) -> np.ndarray:
        """The next tile: shape (height, width, 3), uint8."""
        row, column = self.tiles[self.taken]
        self.taken += 1
        return self.pixels[row.start : row.stop, column.start : column.stop]

    def put_tile(self, enlarged: np.ndarray) -> None:
        """The result of the tiles in their order: float32 in [0, 255], shape (height, width, 3) times the scale."""
        row, column = self.tiles[self.done]
        self.done += 1
        scale = self.scale
        place = self._large[row.start * scale : row.stop * scale, column.start * scale : column.stop * scale]
        share = self._shares(row)[:, None, None] * self._shares(column)[None, :, None]
        place[:] = np.rint(place + share * (enlarged - place)).astype(np.uint8)

    def _shares(self, span: Span) -> np.ndarray:
        """How much of the new tile is used along a side: none before the joint with the tile before, then all."""
        positions = np.arange(span.start * self.scale, span.stop * self.scale, dtype=np.float32)
        if not span.joint:
            return np.ones_like(positions)
        distance = (positions + 0.5) / self.scale - span.joint
        if not self.plan.fade:
            return (distance > 0).astype(np.float32)
        return (0.5 + distance / (2 * self.plan.fade)).clip(0, 1)
