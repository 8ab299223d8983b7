"""Generates the README's gallery with the shipped weights, through the ordinary command line.

Run `python -m training.gallery`. Every prompt is used once, with seed 1: no image is selected by hand.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from training.world import SIZE

ROOT = Path(__file__).parents[1]
SEED = 1
PROMPTS = (
    "a red circle on a blue background",
    "a rocket on a purple background",
    "a cat on a blue background",
    "a tiger on a green background",
    "a pizza on a yellow background",
    "a sailboat on a cyan background",
    "a purple star on a black background",
    "an owl on a brown background",
    "a house on a pink background",
    "two apples on a white background",
    "a small fish in the top right on a gray background",
    "a dog and a cat on an orange background",
)
COLUMNS, GAP, CAPTION_HEIGHT = 6, 12, 44
"""Images per row, pixels between them, and pixels for the prompt below each."""


def generate_image(prompt: str, file: Path) -> Image.Image:
    """One image, as `easel imagine` generates it. Raises: CalledProcessError."""
    arguments = ["imagine", prompt, "--seed", str(SEED), "--out", str(file)]
    subprocess.run([sys.executable, "main.py", *arguments], cwd=ROOT, check=True)
    return Image.open(file).convert("RGB")


def make_sheet(images: list[Image.Image], prompts: tuple[str, ...]) -> Image.Image:
    """All images on one sheet, each above its prompt."""
    cell_width, cell_height = SIZE + GAP, SIZE + GAP + CAPTION_HEIGHT
    rows = -(-len(images) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * cell_width + GAP, rows * cell_height + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for number, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
        x, y = GAP + number % COLUMNS * cell_width, GAP + number // COLUMNS * cell_height
        sheet.paste(image, (x, y))
        pen.rectangle((x - 1, y - 1, x + SIZE, y + SIZE), outline="#cccccc")
        pen.text((x, y + SIZE + 4), "\n".join(textwrap.wrap(prompt, 23)), fill="#333333", font=font, spacing=2)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "gallery.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = [generate_image(prompt, Path(folder) / f"{number}.png") for number, prompt in enumerate(PROMPTS)]
    make_sheet(images, PROMPTS).save(options.out, optimize=True)
    print(f"saved {options.out}")


if __name__ == "__main__":
    main()
