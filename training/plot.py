"""Plots the losses of all training runs: `python -m training.plot` writes `models/LOSSES.png`."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, MARGIN = 360, 220, 34
COLUMNS = 3
Points = list[tuple[float, float]]
"""Minutes of training, and the loss."""


def read_log(log: Path) -> Points:
    """A run's log: rows of step, loss and seconds."""
    with log.open() as file:
        return [(float(seconds) / 60, float(loss)) for _, loss, seconds in csv.reader(file)]


def plot_losses(name: str, points: Points) -> Image.Image:
    """One panel: loss over minutes, both axes from 0."""
    panel = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(11)
    minutes, losses = [x for x, _ in points], sorted(y for _, y in points)
    max_minutes, max_loss = max(minutes), losses[int(0.98 * (len(losses) - 1))]
    width, height = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    left, bottom = MARGIN, HEIGHT - MARGIN
    draw.line([(left, MARGIN), (left, bottom), (left + width, bottom)], fill="gray")
    line = [(left + width * x / max_minutes, bottom - height * min(1.0, y / max_loss)) for x, y in points]
    draw.line(line, fill=(40, 80, 220), width=2)
    draw.text((left, 8), f"{name}: {points[-1][1]:.3f} after {max_minutes:.0f} min", fill="black", font=font)
    draw.text((4, MARGIN - 6), f"{max_loss:.2g}", fill="gray", font=font)
    draw.text((left, bottom + 6), "0", fill="gray", font=font)
    draw.text((left + width - 12, bottom + 6), f"{max_minutes:.0f} min", fill="gray", font=font)
    return panel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path(".training"))
    parser.add_argument("--out", type=Path, default=Path("models/LOSSES.png"))
    options = parser.parse_args()
    panels = [plot_losses(log.stem, read_log(log)) for log in sorted(options.runs.glob("*.csv"))]
    rows = -(-len(panels) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * WIDTH, rows * HEIGHT), "white")
    for number, panel in enumerate(panels):
        sheet.paste(panel, (number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT))
    sheet.save(options.out, optimize=True)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
