"""Makes the README's gallery with the shipped weights, through the command line that everybody uses.

Run `python -m training.gallery`. Every prompt is drawn once, with seed 1: nothing is picked.
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
COLUMNS, GAP, WORDS = 6, 12, 44
"""Pictures in a row, pixels between them, and pixels for the prompt under each."""


def draw(prompt: str, file: Path) -> Image.Image:
    """One picture, as `easel imagine` makes it. Raises: CalledProcessError."""
    asked = ["imagine", prompt, "--seed", str(SEED), "--out", str(file)]
    subprocess.run([sys.executable, "main.py", *asked], cwd=ROOT, check=True)
    return Image.open(file).convert("RGB")


def hang(pictures: list[Image.Image], prompts: tuple[str, ...]) -> Image.Image:
    """All pictures on one sheet, each over its prompt."""
    wide, high = SIZE + GAP, SIZE + GAP + WORDS
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * wide + GAP, rows * high + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for number, (picture, prompt) in enumerate(zip(pictures, prompts, strict=True)):
        x, y = GAP + number % COLUMNS * wide, GAP + number // COLUMNS * high
        sheet.paste(picture, (x, y))
        pen.rectangle((x - 1, y - 1, x + SIZE, y + SIZE), outline="#cccccc")
        pen.text((x, y + SIZE + 4), "\n".join(textwrap.wrap(prompt, 23)), fill="#333333", font=font, spacing=2)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "gallery.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pictures = [draw(prompt, Path(folder) / f"{number}.png") for number, prompt in enumerate(PROMPTS)]
    hang(pictures, PROMPTS).save(options.out, optimize=True)
    print(f"saved {options.out}")


if __name__ == "__main__":
    main()
