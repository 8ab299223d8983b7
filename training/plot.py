"""Plots how the losses of all runs fell: `python -m training.plot` writes `models/LOSSES.png`."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, MARGIN = 360, 220, 34
COLUMNS = 3
Points = list[tuple[float, float]]
"""Minutes spent, and the loss."""


def read(log: Path) -> Points:
    """A run's log: rows of step, loss and seconds."""
    with log.open() as file:
        return [(float(seconds) / 60, float(loss)) for _, loss, seconds in csv.reader(file)]


def plot(name: str, points: Points) -> Image.Image:
    """One panel: loss over minutes, both from nought."""
    panel = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen, font = ImageDraw.Draw(panel), ImageFont.load_default(11)
    minutes, losses = [x for x, _ in points], sorted(y for _, y in points)
    longest, highest = max(minutes), losses[int(0.98 * (len(losses) - 1))]
    across, down = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    left, bottom = MARGIN, HEIGHT - MARGIN
    pen.line([(left, MARGIN), (left, bottom), (left + across, bottom)], fill="gray")
    line = [(left + across * x / longest, bottom - down * min(1.0, y / highest)) for x, y in points]
    pen.line(line, fill=(40, 80, 220), width=2)
    pen.text((left, 8), f"{name}: {points[-1][1]:.3f} after {longest:.0f} min", fill="black", font=font)
    pen.text((4, MARGIN - 6), f"{highest:.2g}", fill="gray", font=font)
    pen.text((left, bottom + 6), "0", fill="gray", font=font)
    pen.text((left + across - 12, bottom + 6), f"{longest:.0f} min", fill="gray", font=font)
    return panel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path(".training"))
    parser.add_argument("--out", type=Path, default=Path("models/LOSSES.png"))
    options = parser.parse_args()
    panels = [plot(log.stem, read(log)) for log in sorted(options.runs.glob("*.csv"))]
    rows = -(-len(panels) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * WIDTH, rows * HEIGHT), "white")
    for number, panel in enumerate(panels):
        sheet.paste(panel, (number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT))
    sheet.save(options.out, optimize=True)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
