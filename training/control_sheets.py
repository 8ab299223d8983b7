"""Generates the sheets of docs/control.md with the shipped weights, through the ordinary command line.

Run `python -m training.control_sheets`. The commands are those of the page, each run once: no image is picked by hand.
A block of commands that begins with "```sh sheet=NAME" makes docs/control/NAME.png, which shows the files that the
commands read, then the images that they make, labelled with the comments behind the commands. The name may be followed
by `needs=MODEL`, without which the sheet is left out; `columns=8`; `crop=0.5`, the share of each side that is shown;
and `repeat=2`, how often an image is repeated in each direction.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from training.world import SIZE

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "control.md"
COLUMNS, GAP, LABEL_HEIGHT, COLOURS = 6, 10, 32, 256
"""Images per row, pixels between them and for the label below each; colours of a sheet's palette."""
CELL = 8
"""Pixels of a cell of the checkerboard behind transparent images."""


@dataclass(frozen=True)
class Step:
    """One command line; `file` is what it makes."""

    command: str
    label: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.command)[1:]

    @property
    def file(self) -> str:
        return self.words[self.words.index("--out") + 1]

    @property
    def inputs(self) -> list[str]:
        """Files that it reads, in its order; an image may follow a kind and a colon."""
        return [file for file in re.findall(r"[\w-]+\.png", self.command) if file != self.file]


@dataclass(frozen=True)
class Sheet:
    name: str
    steps: tuple[Step, ...]
    needs: tuple[str, ...] = ()
    columns: int = COLUMNS
    crop: float = 1
    repeat: int = 1

    @property
    def missing(self) -> list[str]:
        return [name for name in self.needs if not (ROOT / "models" / name).is_dir()]

    @property
    def cells(self) -> dict[str, str]:
        """The label of each file, inputs first."""
        made = {step.file: step.label for step in self.steps}
        inputs = {file: file for step in self.steps for file in step.inputs if file not in made}
        return inputs | made


def read_sheets(page: str) -> list[Sheet]:
    """The sheets of a page, in its order."""
    found = re.findall(r"^```sh sheet=(\S+)(.*)\n((?:easel .*\n)+)```", page, re.MULTILINE)
    return [_read_sheet(name, dict(setting.split("=") for setting in settings.split()), lines)
            for name, settings, lines in found]  # fmt: skip


def _read_sheet(name: str, settings: dict[str, str], lines: str) -> Sheet:
    split = (line.partition("#") for line in lines.splitlines())
    return Sheet(
        name=name,
        steps=tuple(Step(command.strip(), label.strip()) for command, _, label in split),
        needs=tuple(settings["needs"].split(",")) if "needs" in settings else (),
        columns=int(settings.get("columns", COLUMNS)),
        crop=float(settings.get("crop", 1)),
        repeat=int(settings.get("repeat", 1)),
    )


def choose_sheets(sheets: list[Sheet], names: list[str]) -> list[Sheet]:
    """Those with these names, or all; what cannot be made is reported and left out."""
    chosen = [sheet for sheet in sheets if not names or sheet.name in names]
    for sheet in chosen:
        if sheet.missing:
            print(f"left out: {sheet.name}, which needs {', '.join(f'models/{name}' for name in sheet.missing)}")
    return [sheet for sheet in chosen if not sheet.missing]


def draw_mask(file: Path) -> None:
    """White where an image is repainted: a disc in the top left."""
    mask = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(mask).ellipse((4, 4, 44, 44), fill=255)
    mask.save(file)


@contextmanager
def run_server() -> Iterator[dict[str, str]]:
    """The environment of commands that share one server, so that models are loaded once."""
    with tempfile.TemporaryDirectory() as data_dir:
        environment = {**os.environ, "EASEL_DATA_DIR": data_dir, "EASEL_WEB__PORT": "0"}
        command = [sys.executable, str(ROOT / "main.py"), "serve"]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as server:
            try:
                if not any("http" in line for line in server.stdout or ()):
                    raise SystemExit("The server did not start.")
                yield environment
            finally:
                server.terminate()


def generate_images(sheets: list[Sheet], steps: dict[str, Step], folder: Path) -> None:
    """Run what makes the images of these sheets, and the images that those are made from."""
    draw_mask(folder / "mask.png")
    with run_server() as environment:
        for sheet in sheets:
            for file in sheet.cells:
                generate_image(file, steps, folder, environment)


def generate_image(file: str, steps: dict[str, Step], folder: Path, environment: dict[str, str]) -> None:
    """Run the command that makes a file, unless it is there. Raises: CalledProcessError."""
    if (folder / file).exists():
        return
    for read in steps[file].inputs:
        generate_image(read, steps, folder, environment)
    command = [sys.executable, str(ROOT / "main.py"), *steps[file].words]
    subprocess.run(command, cwd=folder, env=environment, check=True)


def show_image(file: Path, sheet: Sheet) -> Image.Image:
    """An image as its sheet shows it; transparency is shown on a checkerboard."""
    image = Image.open(file).convert("RGBA")
    image = Image.alpha_composite(_make_checkerboard(image.size), image)
    repeated = Image.new("RGB", (image.width * sheet.repeat, image.height * sheet.repeat))
    for x in range(0, repeated.width, image.width):
        for y in range(0, repeated.height, image.height):
            repeated.paste(image, (x, y))
    width, height = (round(side * sheet.crop) for side in repeated.size)
    left, top = (repeated.width - width) // 2, (repeated.height - height) // 2
    return repeated.crop((left, top, left + width, top + height))


def _make_checkerboard(size: tuple[int, int]) -> Image.Image:
    board = Image.new("RGBA", size, "white")
    pen = ImageDraw.Draw(board)
    for x in range(0, size[0], CELL):
        for y in range(x % (2 * CELL), size[1], 2 * CELL):
            pen.rectangle((x, y, x + CELL - 1, y + CELL - 1), fill="#dddddd")
    return board


def draw_sheet(sheet: Sheet, folder: Path) -> Image.Image:
    """All images of a sheet in a grid, each above its label."""
    cells = [(show_image(folder / file, sheet), label) for file, label in sheet.cells.items()]
    rows = [cells[start : start + sheet.columns] for start in range(0, len(cells), sheet.columns)]
    heights = [max(image.height for image, _ in row) + GAP + LABEL_HEIGHT for row in rows]
    width = GAP + max(sum(image.width + GAP for image, _ in row) for row in rows)
    drawn = Image.new("RGB", (width, sum(heights) + GAP), "white")
    pen, font, y = ImageDraw.Draw(drawn), ImageFont.load_default(11), GAP
    for row, height in zip(rows, heights, strict=True):
        x = GAP
        for image, label in row:
            drawn.paste(image, (x, y))
            pen.rectangle((x - 1, y - 1, x + image.width, y + image.height), outline="#cccccc")
            text = "\n".join(textwrap.wrap(label, image.width // 6))
            pen.text((x, y + image.height + 4), text, fill="#333333", font=font, spacing=2)
            x += image.width + GAP
        y += height
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sheets", nargs="*", metavar="SHEET", help="names of sheets (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "control", help="folder of the sheets")
    parser.add_argument("--images", type=Path, help="folder that keeps the images, to continue after an interruption")
    options = parser.parse_args()
    page = read_sheets(PAGE.read_text(encoding="utf-8"))
    sheets = choose_sheets(page, options.sheets)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.images or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        generate_images(sheets, {step.file: step for sheet in page for step in sheet.steps}, folder)
        for sheet in sheets:
            file = options.out / f"{sheet.name}.png"
            draw_sheet(sheet, folder).quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
            print(f"saved {file}")


if __name__ == "__main__":
    main()
