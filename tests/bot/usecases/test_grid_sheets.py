"""What is on the sheets of grids: pictures, sizes, reasons, and what the sheets say about themselves."""

from dataclasses import replace
from typing import Any

import pytest

from bot.errors import MediaNotFound
from bot.jobs import Job, JobError, JobState, Media, Origin, Result, StoredImage
from bot.ports import RenderedImage
from bot.ports.batches import BatchRecord
from bot.usecases.grid_sheets import MAX_ALT, MAX_PIXELS, draw_sheets
from bot.usecases.grid_spec import read_spec
from tests.fakes import NOON

AXES: list[dict[str, Any]] = [
    {"axis": "x", "option": "steps", "title": "steps", "values": [4, 8]},
    {"axis": "z", "option": "sampler", "title": "sampler", "values": ["euler", "ddim"]},
]


class Recorder:
    """The image child: what it was asked for."""

    def __init__(self) -> None:
        self.sheets: list[tuple[list[Media], dict[str, Any], str]] = []

    async def run_tool(self, _tool, images, values, *, parameters, owner) -> list[RenderedImage]:
        self.sheets.append((images, values, parameters))
        return [RenderedImage(media=Media(b"sheet", "image/png"), width=9, height=9, parameters=parameters)]


def make_job(name, *, size=(64, 64), state=JobState.DELIVERED, error=None, **options):
    picture = StoredImage(id=name, media_type="image/png", width=size[0], height=size[1])
    result = Result(media=(picture,), parameters="a fox\nSteps: 4") if state is JobState.DELIVERED else None
    return Job(
        id=name, owner="ann", origin=Origin(platform="web", space_id="web", account_id="ann"), command="imagine",
        options={"prompt": "a fox", **options}, state=state, result=result, error=error, created_at=NOON,
    )  # fmt: skip


def make_record(*jobs, axes=AXES, cells="abcd"):
    spec = {"axes": axes, "cells": list(cells)}
    return BatchRecord(id="g", owner="ann", kind="grid", spec=spec, is_due=True, jobs=jobs)


async def draw(record, lost=""):
    """`lost`: pictures that are no longer on the disk."""
    images = Recorder()

    async def read(picture: StoredImage, _width: int, _height: int) -> Media:
        if picture.id in lost:
            raise MediaNotFound(picture.id)
        return Media(picture.id.encode(), "image/png")

    drawn = await draw_sheets(record, read, images)  # type: ignore[arg-type]
    return drawn, images


async def test_each_value_of_z_has_a_sheet_with_its_own_pictures():
    drawn, images = await draw(make_record(*map(make_job, "abcd")))

    assert [(one.z, dict(one.pictures)) for one in drawn] == [(0, {"a": "a", "b": "b"}), (1, {"c": "c", "d": "d"})]
    assert [[file.data for file in files] for files, *_ in images.sheets] == [[b"a", b"b"], [b"c", b"d"]]
    _, values, parameters = images.sheets[1]
    assert values["columns"] == [("a \u00b7 steps", "4"), ("b \u00b7 steps", "8")]
    assert (values["rows"], values["subtitle"]) == ([("", "")], "2 \u00b7 sampler: ddim")
    assert values["title"] == "a fox"
    assert parameters.startswith('a fox\nSteps: 4, Script: X/Y/Z plot, X Type: steps, X Values: "4, 8"')


async def test_blank_cells_say_why_and_those_that_have_not_ended_say_nothing():
    blocked = make_job("b", state=JobState.FAILED, error=JobError(code="blocked", message="Not allowed here."))
    jobs = (make_job("a"), blocked, make_job("d", state=JobState.QUEUED), make_job("e", state=JobState.CANCELLED))
    axes = [{**AXES[0], "values": [1, 2, 3, 4, 5]}]
    _, images = await draw(make_record(*jobs, axes=axes, cells="abcde"))

    _, values, _ = images.sheets[0]
    assert values["cells"] == [0, "Not allowed here.", "Deleted", "", "Cancelled; you weren't charged."]


async def test_a_value_of_z_without_a_picture_has_no_sheet():
    failed = [make_job(name, state=JobState.FAILED) for name in "ab"]
    drawn, _ = await draw(make_record(*failed, make_job("c"), make_job("d")))

    assert [one.z for one in drawn] == [1]


async def test_a_picture_whose_file_is_lost_is_blank():
    drawn, images = await draw(make_record(*map(make_job, "abcd")), lost="acd")

    assert [dict(one.pictures) for one in drawn] == [{"b": "b"}]
    assert images.sheets[0][1]["cells"] == ["Deleted", 0]


async def test_small_pictures_keep_their_size_and_large_ones_are_scaled_down_together():
    _, small = await draw(make_record(make_job("a", size=(64, 32)), make_job("b", size=(128, 64))))
    jobs = [make_job("a", size=(4096, 4096)), make_job("b", size=(2048, 4096))]
    _, large = await draw(make_record(*jobs))

    assert (small.sheets[0][1]["sizes"], small.sheets[0][1]["cell"]) == ([(64, 32), (128, 64)], (128, 96))
    (wide, high), (narrow, same) = large.sheets[0][1]["sizes"]
    assert 2 * wide * high <= MAX_PIXELS
    assert (high, narrow) == (same, wide // 2)
    assert large.sheets[0][1]["cell"] == (wide, high)


async def test_a_hundred_large_cells_stay_within_the_limit():
    axes = [{**AXES[0], "values": list(range(100))}]
    names = [f"job{number}" for number in range(100)]
    jobs = [make_job(name, size=(1024, 1024)) for name in names]
    _, images = await draw(make_record(*jobs, axes=axes, cells=names))

    width, height = images.sheets[0][1]["cell"]
    assert 100 * width * height <= MAX_PIXELS


async def test_the_alt_text_names_the_axes_and_stays_short():
    plain, _ = await draw(make_record(*map(make_job, "abcd")))
    endless = [{**AXES[0], "option": "prompt", "values": ["word " * 400, "b"]}]
    long, _ = await draw(make_record(make_job("a", prompt="w" * 2000), make_job("b"), axes=endless, cells="ab"))

    assert plain[1].alt == "Grid of pictures: a fox. Columns: steps: 4, 8. This sheet: sampler: ddim."
    assert len(long[0].alt) <= MAX_ALT


async def test_words_of_deleted_cells_are_on_no_sheet():
    axes = [{"axis": "x", "option": "prompt", "title": "prompt", "values": ["fox", None]}]
    drawn, images = await draw(make_record(make_job("a"), axes=axes, cells="ab"))

    assert images.sheets[0][1]["columns"] == [("a \u00b7 prompt", "fox"), ("b \u00b7 prompt", "")]
    assert drawn[0].alt == "Grid of pictures: a fox. Columns: prompt: fox."


@pytest.mark.parametrize("count", [1, 3])
def test_places_of_cells_count_x_first(count):
    axes = [{**AXES[0], "axis": "y", "values": list(range(count))}, AXES[1]]
    spec = read_spec({"axes": axes, "cells": [str(number) for number in range(2 * count)]})

    assert [(cell.x, cell.y, cell.z) for cell in spec.cells] == [(0, y, z) for z in range(2) for y in range(count)]


async def test_the_prompt_on_a_sheet_is_the_typed_one():
    job = replace(make_job("a"), options={"prompt": "a fox, ink", "asked": {"prompt": "a fox", "style": "ink"}})
    _, images = await draw(make_record(job))

    assert images.sheets[0][1]["title"] == "a fox"
