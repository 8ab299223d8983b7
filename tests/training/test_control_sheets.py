"""The sheets of docs/control.md are made by the commands under them."""

import pytest
from PIL import Image

from training.control_sheets import PAGE, ROOT, Sheet, Step, draw_sheet, read_sheets

TEXT = PAGE.read_text(encoding="utf-8")
SHEETS = read_sheets(TEXT)
STEPS = {step.file: step for sheet in SHEETS for step in sheet.steps}
LIMIT = 150_000
FILES = sorted((ROOT / "docs" / "control").glob("*.png"))


def test_every_block_of_a_sheet_is_read():
    assert len(SHEETS) == TEXT.count("```sh sheet=") > 10


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_what_the_commands_of_a_sheet_read_is_made_by_the_page(sheet):
    assert set(sheet.cells) <= {*STEPS, "mask.png"}
    assert all(
        "--seed 1" in step.command for step in sheet.steps if step.words[0] in ("imagine", "edit", "zoom", "pan")
    )


def test_a_file_is_made_by_one_command_only():
    commands = {(step.file, step.command) for sheet in SHEETS for step in sheet.steps}

    assert len(commands) == len(STEPS)


def test_the_page_shows_each_sheet_that_was_made_and_says_what_is_on_it():
    assert {file.stem for file in FILES} <= {sheet.name for sheet in SHEETS}
    for file in FILES:
        alt, found, _ = TEXT.partition(f"](control/{file.name})")

        assert found
        assert len(alt.rpartition("![")[2]) > 20


def test_the_sheets_are_small():
    sizes = [file.stat().st_size for file in FILES]

    assert max(sizes, default=0) < LIMIT
    assert sum(sizes) < 1_000_000


def test_inputs_come_first_on_a_sheet_and_transparency_is_visible(tmp_path):
    Image.new("RGBA", (32, 16)).save(tmp_path / "b.png")
    Image.new("RGB", (32, 16), "red").save(tmp_path / "a.png")
    sheet = Sheet("one", (Step("easel cutout a.png --out b.png", "cut"),), repeat=2)

    drawn = draw_sheet(sheet, tmp_path)

    assert list(sheet.cells.items()) == [("a.png", "a.png"), ("b.png", "cut")]
    assert drawn.getpixel((10, 10)) == (255, 0, 0)
    assert {drawn.getpixel((84, 10)), drawn.getpixel((92, 10))} == {(255, 255, 255), (221, 221, 221)}


def test_a_sheet_without_its_model_is_left_out():
    assert Sheet("one", (), needs=("no-such-model",)).missing == ["no-such-model"]
