"""Image tools run in a confined process of their own."""

import io

import pytest
from PIL import Image

from bot.error_texts import explain
from bot.errors import EngineError, InvalidOption
from bot.jobs import Media
from inference.images.service import ImageService
from inference.images.tools import TOOLS


def make_media(color="red") -> Media:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), color).save(out, "PNG")
    return Media(out.getvalue(), "image/png")


@pytest.mark.process
async def test_maps_are_made_in_the_confined_process_and_an_unknown_tool_is_an_error():
    """Neither what numpy imports on demand nor the font's file must be needed there. It goes on after the error."""
    picture = Image.effect_noise((96, 64), 90).convert("RGB").resize((192, 128))
    out = io.BytesIO()
    picture.save(out, "PNG")
    async with ImageService() as images:
        with pytest.raises(EngineError, match="there is no image tool nothing"):
            await images.run_tool("nothing", [make_media()])
        for tool in ("canny", "lineart", "scribble", "tile", "fit_control"):
            (made,) = await images.run_tool(tool, [Media(out.getvalue(), "image/png")], {"width": 128, "height": 128})
            assert (made.width, made.height) == (128, 128)
            assert Image.open(io.BytesIO(made.media.data)).getextrema() != ((0, 0),) * 3
        values = {"title": "\u05d7\u05ea\u05d5\u05dc", "subtitle": "", "columns": [("steps", "4")], "rows": [("", "")]}
        sheet = {**values, "cells": [0], "sizes": [(8, 6)], "cell": (100, 90)}
        (made,) = await images.run_tool("grid_sheet", [make_media()], sheet, parameters="a fox")
        assert Image.open(io.BytesIO(made.media.data)).info["parameters"] == "a fox"


def test_the_mask_of_a_transparent_part_repaints_it_whatever_the_colors_are():
    """Read by its colors, a black canvas with a hole would be kept where it is clear."""
    canvas = Image.new("RGBA", (8, 4), (0, 0, 0, 255))
    canvas.paste((0, 0, 0, 0), (0, 0, 4, 4))
    (mask,) = TOOLS["mask_transparency"]([canvas], {})

    assert [mask.getpixel((1, 1)), mask.getpixel((6, 1))] == [255, 0]


def test_a_mask_without_a_transparent_part_is_refused():
    with pytest.raises(InvalidOption) as refused:
        TOOLS["mask_transparency"]([Image.new("RGB", (8, 4))], {})

    assert explain(refused.value).startswith("The mask has no transparent part")


def test_tools_have_names_in_lower_case():
    assert all(name == name.lower() for name in TOOLS)
