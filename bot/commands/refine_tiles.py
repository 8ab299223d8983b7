"""How a picture that is larger than its model draws is refined: in overlapping tiles of the model's own size. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.models import IMAGE_TO_IMAGE, ModelSpec

UPSCALER, REFINE, RESIZE = "upscaler", "refine", "resize"
OVERLAP = 0.25
"""Share of a tile's side that it has in common with the next one, at least."""
MAX_STRENGTH, MAX_CONTROLLED_STRENGTH = 0.35, 0.6
"""Denoising strength of tiles, at most: without and with a ControlNet of the kind "tile". With more, every tile becomes
a picture of its own."""
MAX_CAPTIONED_TILES = 16
"""The tiles of a picture of more have the request's prompt."""
TILE_CONTROL = "tile"
TILE_PROMPTS = "tile_prompts"
"""Of a task, not of a job: the prompt of each tile."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True)
class RefinePlan:
    """`boxes`: of all tiles, row by row, all of one size; the last ones may end beyond the picture, by less than the
    model's `size_multiple`."""

    boxes: tuple[Box, ...]

    @property
    def is_divided(self) -> bool:
        return len(self.boxes) > 1

    @property
    def tile_size(self) -> tuple[int, int]:
        left, top, right, bottom = self.boxes[0]
        return right - left, bottom - top


def draws_whole(model: ModelSpec, width: int, height: int) -> bool:
    """Whether the model draws pictures of this size without tiles."""
    return all(model.min_size <= side <= model.max_size and side % model.size_multiple == 0 for side in (width, height))


def can_refine_at(model: ModelSpec, sides: tuple[int, int]) -> bool:
    """Whether the model can refine pictures of this size, whole or in tiles."""
    if IMAGE_TO_IMAGE not in model.tasks:
        return False
    return draws_whole(model, *sides) or (refines_in_tiles(model) and min(sides) >= model.min_size)


def refines_in_tiles(model: ModelSpec) -> bool:
    """Until it was loaded, a model that starts from pictures is taken for one that can."""
    return IMAGE_TO_IMAGE in model.tasks and bool(model.capabilities.get("refines_in_tiles", True))


def plan_refinement(options: Mapping[str, Any], model: ModelSpec) -> RefinePlan | None:
    """The tiles of a refinement; None: the options ask for none, or the model draws the picture whole."""
    if options.get("method") != REFINE:
        return None
    width, height = int(options["width"]), int(options["height"])
    if draws_whole(model, width, height):
        return None
    plan = plan_tiles((width, height), _tile_of(model), model.size_multiple)
    return plan if plan.is_divided else None


def _tile_of(model: ModelSpec) -> tuple[int, int]:
    return min(model.width, model.max_size), min(model.height, model.max_size)


def count_tiles(model: ModelSpec, size: tuple[int, int]) -> int:
    """Of a refinement at this size."""
    if draws_whole(model, *size):
        return 1
    return len(plan_tiles(size, _tile_of(model), model.size_multiple).boxes)


def plan_tiles(size: tuple[int, int], tile: tuple[int, int], multiple: int) -> RefinePlan:
    """Evenly spread tiles, which begin at multiples of `multiple` and cover a picture of this size."""
    columns, rows = (_split_side(length, side, multiple) for length, side in zip(size, tile, strict=True))
    return RefinePlan(tuple((left, top, right, bottom) for top, bottom in rows for left, right in columns))


def _split_side(length: int, side: int, multiple: int) -> list[tuple[int, int]]:
    length = -(-length // multiple) * multiple
    side = max(multiple, side // multiple * multiple)
    if length <= side:
        return [(0, length)]
    overlap = max(multiple, round(side * OVERLAP))
    count = math.ceil((length - overlap) / max(1, side - overlap))
    room = (length - side) // multiple
    starts = [round(room * number / (count - 1)) * multiple for number in range(count)]
    return [(start, start + side) for start in starts]


def strongest(model: ModelSpec) -> float:
    """The highest strength of a refinement in tiles."""
    return MAX_CONTROLLED_STRENGTH if has_tile_control(model) else MAX_STRENGTH


def has_tile_control(model: ModelSpec) -> bool:
    return model.control_source(TILE_CONTROL) is not None


def tile_prompt(prompt: str, caption: str) -> str:
    """The prompt of the whole picture, then what is in the tile."""
    return ", ".join(text for text in (prompt, caption) if text)
