"""What a grid's batch remembers: its axes and, by place, the job of each cell. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.commands.grid_axes import Axis, format_value


@dataclass(frozen=True, kw_only=True)
class GridAxis:
    """`option`: an option's name, `lora:NAME` or `control:KIND`; `title`: as people call it. A value whose cells are
    all deleted is None."""

    name: str
    option: str
    title: str
    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple("" if value is None else format_value(value) for value in self.values)


@dataclass(frozen=True, kw_only=True)
class GridPlace:
    """A cell: the places of its values on the axes, 0 where there is no such axis, and its job."""

    x: int
    y: int
    z: int
    job: str


@dataclass(frozen=True, kw_only=True)
class GridSpec:
    """`cells`: row by row and sheet by sheet, x changes fastest."""

    axes: tuple[GridAxis, ...]
    cells: tuple[GridPlace, ...]

    def axis(self, name: str) -> GridAxis | None:
        return next((axis for axis in self.axes if axis.name == name), None)

    def count(self, name: str) -> int:
        """How many values the axis has; 1: there is no such axis."""
        axis = self.axis(name)
        return 1 if axis is None else len(axis.values)


def write_spec(axes: Sequence[Axis], jobs: Sequence[str]) -> dict[str, Any]:
    """As it is stored. `jobs`: of the cells, in their order."""
    written = [{"axis": one.name, "option": one.option, "title": one.title, "values": list(one.values)} for one in axes]
    return {"axes": written, "cells": list(jobs)}


def read_spec(spec: Mapping[str, Any]) -> GridSpec:
    axes = tuple(
        GridAxis(name=one["axis"], option=one["option"], title=one["title"], values=tuple(one["values"]))
        for one in spec["axes"]
    )
    counts = {axis.name: len(axis.values) for axis in axes}
    cells: list[GridPlace] = []
    for index, job in enumerate(spec["cells"]):
        place, rest = {"x": 0, "y": 0, "z": 0}, index
        for name, count in counts.items():
            rest, place[name] = divmod(rest, count)
        cells.append(GridPlace(**place, job=job))
    return GridSpec(axes=axes, cells=tuple(cells))
