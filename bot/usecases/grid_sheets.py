"""Draws the sheets of a grid: which pictures and labels are where, for the image tool `grid_sheet`."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bot.error_texts import explain
from bot.errors import JobCancelled, MediaNotFound
from bot.i18n import N_, translator
from bot.jobs import Job, JobState, Media, StoredImage
from bot.options import clean_excerpt
from bot.ports import ImageProcessor
from bot.ports.batches import BatchRecord
from bot.prompts.resolver import original_prompt
from bot.usecases.grid_names import name_column, name_row
from bot.usecases.grid_spec import GridAxis, GridPlace, GridSpec, read_spec

MAX_PIXELS = 12_000_000
MAX_SIDE = 10_000
"""Of the pictures of a sheet, without its labels: beyond that, they are scaled down."""
MIN_CELL = 96
"""A cell is at least so wide and high, pixels: labels and reasons need room."""
MAX_ALT = 1000
DELETED = N_("Deleted")
ALT = N_("Grid of pictures: {prompt}.")
_ALT_AXES: Mapping[str, str] = {
    "x": N_("Columns: {option}: {values}."),
    "y": N_("Rows: {option}: {values}."),
    "z": N_("This sheet: {option}: {values}."),
}


@dataclass(frozen=True, kw_only=True)
class SheetDrawing:
    """One drawn sheet. `z`: the place of its value on the third axis. `pictures`: by the job's id, the id of its
    picture that is on it."""

    z: int
    media: Media
    width: int
    height: int
    alt: str
    pictures: Mapping[str, str]


ReadPicture = Callable[[StoredImage, int, int], Awaitable[Media]]
"""Reads a picture that is drawn with this width and height, in pixels. Raises: EngineError; MediaNotFound."""


async def draw_sheets(
    record: BatchRecord, read: ReadPicture, images: ImageProcessor, *, max_pixels: int = MAX_PIXELS
) -> list[SheetDrawing]:
    """Those of a grid that have a picture. Raises: EngineError."""
    spec = read_spec(record.spec)
    jobs = {job.id: job for job in record.jobs}
    sheets = [_SheetPlan(spec, z, jobs, max_pixels) for z in range(spec.count("z"))]
    drawn = [await _draw(sheet, read, images) for sheet in sheets]
    return [sheet for sheet in drawn if sheet is not None]


@dataclass
class _SheetPlan:
    """`pictures`: by the cell's job, in the order of the cells."""

    spec: GridSpec
    z: int
    jobs: Mapping[str, Job]
    max_pixels: int
    cells: Sequence[GridPlace] = field(init=False)
    pictures: dict[str, StoredImage] = field(init=False)

    def __post_init__(self) -> None:
        self.cells = [cell for cell in self.spec.cells if cell.z == self.z]
        shown = ((cell.job, _first_picture(self.jobs.get(cell.job))) for cell in self.cells)
        self.pictures = {job_id: picture for job_id, picture in shown if picture is not None}

    @property
    def first(self) -> Job:
        """The first of its jobs that has a picture."""
        return self.jobs[next(iter(self.pictures))]

    @property
    def scale(self) -> float:
        """By which pictures are scaled down, at most 1."""
        width = self.spec.count("x") * max(one.width for one in self.pictures.values())
        height = self.spec.count("y") * max(one.height for one in self.pictures.values())
        return min(1.0, MAX_SIDE / width, MAX_SIDE / height, math.sqrt(self.max_pixels / (width * height)))

    def size_of(self, picture: StoredImage) -> tuple[int, int]:
        return max(1, int(picture.width * self.scale)), max(1, int(picture.height * self.scale))

    def values(self) -> dict[str, Any]:
        """For the image tool."""
        sizes = [self.size_of(picture) for picture in self.pictures.values()]
        places = {job_id: number for number, job_id in enumerate(self.pictures)}
        third = self.spec.axis("z")
        return {
            "title": self.prompt,
            "subtitle": f"{name_row(self.z)} \u00b7 {third.title}: {third.labels[self.z]}" if third is not None else "",
            "columns": _labels_of(self.spec.axis("x"), name_column),
            "rows": _labels_of(self.spec.axis("y"), name_row),
            "cells": [places.get(cell.job, self._reason(self.jobs.get(cell.job))) for cell in self.cells],
            "sizes": sizes,
            "cell": (max(MIN_CELL, *(width for width, _ in sizes)), max(MIN_CELL, *(height for _, height in sizes))),
        }

    @property
    def prompt(self) -> str:
        return str(original_prompt(self.first.options).get("prompt") or "")

    @property
    def locale(self) -> str:
        return self.first.origin.locale

    def _reason(self, job: Job | None) -> str:
        """Why a cell is blank; empty of one that has not ended."""
        if job is None:
            return translator(self.locale)(DELETED)
        if not job.state.is_final:
            return ""
        if job.state is JobState.CANCELLED:
            return explain(JobCancelled(), locale=self.locale)
        return job.error.message if job.error is not None else translator(self.locale)(DELETED)

    @property
    def alt(self) -> str:
        translate = translator(self.locale)
        sentences = [translate(ALT).format(prompt=clean_excerpt(self.prompt, MAX_ALT // 3).rstrip("."))]
        for axis in self.spec.axes:
            labels = [axis.labels[self.z]] if axis.name == "z" else axis.labels
            values = ", ".join(filter(None, labels))
            sentences.append(translate(_ALT_AXES[axis.name]).format(option=axis.title, values=values))
        return clean_excerpt(" ".join(sentences), MAX_ALT)

    @property
    def parameters(self) -> str:
        """Those of the first picture, and of the axes as AUTOMATIC1111 writes them."""
        first = self.first.result
        written = first.parameters if first is not None else ""
        types = ", ".join(
            f"{axis.name.upper()} Type: {axis.title}, {axis.name.upper()} Values: {_quote(', '.join(axis.labels))}"
            for axis in self.spec.axes
        )
        return f"{written or self.prompt}, Script: X/Y/Z plot, {types}"


def _first_picture(job: Job | None) -> StoredImage | None:
    return next(iter(job.result.media), None) if job is not None and job.result is not None else None


def _labels_of(axis: GridAxis | None, name: Callable[[int], str]) -> list[tuple[str, str]]:
    """With the letter or number that names a cell in this column or row."""
    if axis is None:
        return [("", "")]
    return [(f"{name(place)} \u00b7 {axis.title}", label) for place, label in enumerate(axis.labels)]


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


async def _draw(sheet: _SheetPlan, read: ReadPicture, images: ImageProcessor) -> SheetDrawing | None:
    """A picture whose file is gone is left out; None: no picture is left."""
    found: dict[str, Media] = {}
    for job_id, picture in sheet.pictures.items():
        with suppress(MediaNotFound):
            found[job_id] = await read(picture, *sheet.size_of(picture))
    sheet.pictures = {job_id: picture for job_id, picture in sheet.pictures.items() if job_id in found}
    if not found:
        return None
    files, owner = list(found.values()), sheet.first.owner
    [drawn] = await images.run_tool("grid_sheet", files, sheet.values(), parameters=sheet.parameters, owner=owner)
    return SheetDrawing(
        z=sheet.z,
        media=drawn.media,
        width=drawn.width,
        height=drawn.height,
        alt=sheet.alt,
        pictures={job_id: picture.id for job_id, picture in sheet.pictures.items()},
    )
