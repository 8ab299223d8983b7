"""The cells of a grid: for every combination of the values of its axes, the options and images of a request. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bot.commands.grid_axes import CONTROL, LORA, PROMPT, Axis
from bot.errors import InvalidOption
from bot.jobs import ImageRef
from bot.options import clean_text
from bot.prompts.grammar import set_lora_weight


@dataclass(frozen=True, kw_only=True)
class Cell:
    """`place`: the index of its value on each axis."""

    place: tuple[int, ...]
    options: Mapping[str, Any]
    images: tuple[ImageRef, ...]


def list_cells(axes: Sequence[Axis], options: Mapping[str, Any], images: Sequence[ImageRef]) -> Iterator[Cell]:
    """Every cell, row by row and sheet by sheet: x changes fastest. Raises: InvalidOption."""
    ordered = sorted(axes, key=lambda axis: axis.option != PROMPT)  # before LoRAs are added
    for place in _places([len(axis.values) for axis in axes]):
        cell = Cell(place=place, options=dict(options), images=tuple(images))
        for axis in ordered:
            cell = _apply(cell, axis, place[axes.index(axis)])
        yield cell


def _places(counts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    if not counts:
        yield ()
        return
    for rest in _places(counts[1:]):
        for index in range(counts[0]):
            yield (index, *rest)


def _apply(cell: Cell, axis: Axis, index: int) -> Cell:
    value = axis.values[index]
    prompt = str(cell.options.get(PROMPT, ""))
    if axis.option == PROMPT:
        return _with(cell, PROMPT, _replace_words(axis, prompt, str(value)))
    if axis.option.startswith(LORA):
        return _with(cell, PROMPT, set_lora_weight(prompt, axis.option[len(LORA) :], float(value)))
    if axis.option.startswith(CONTROL):
        return replace(cell, images=_weigh_control(axis, cell.images, float(value)))
    return _with(cell, axis.option, value)


def _with(cell: Cell, name: str, value: Any) -> Cell:
    return replace(cell, options={**cell.options, name: value})


def _replace_words(axis: Axis, prompt: str, value: str) -> str:
    searched = str(axis.values[0])
    if not searched or searched not in prompt:
        raise InvalidOption(axis.name, "axis_prompt", value=searched)
    return clean_text(prompt.replace(searched, value))


def _weigh_control(axis: Axis, images: Sequence[ImageRef], weight: float) -> tuple[ImageRef, ...]:
    """With this weight for the control; 0 leaves it out."""
    kind = axis.option[len(CONTROL) :]

    def is_meant(image: ImageRef) -> bool:
        return image.role == "control" and image.kind == kind

    if not any(map(is_meant, images)):
        raise InvalidOption(axis.name, "axis_control", value=kind)
    weighed = (replace(image, weight=weight) if is_meant(image) else image for image in images)
    return tuple(image for image in weighed if image.weight or not is_meant(image))
