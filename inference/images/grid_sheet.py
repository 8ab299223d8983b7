"""Sheets of grids: pictures in rows and columns with their labels; what a shortened label says is below in full."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from inference.images.flatten import flatten
from inference.images.sheet_text import load_font, without_unknown, wrap

BACKGROUND, INK, BLANK, MUTED = "#ffffff", "#1a1a1a", "#e8e8e8", "#555555"
PAD = 8
LABEL_LINES, TITLE_LINES, LEGEND_LINES = 3, 2, 6
MAX_LEGEND = 40
"""Lines of the legend in all."""
_SMALLEST, _LARGEST = 12, 26
"""Sizes of the font, pixels."""


Label = tuple[str, str]
"""The option and its value; both empty: none."""


@dataclass
class _Sheet:
    """`cells`: row by row, a picture or why there is none."""

    title: str
    subtitle: str
    columns: Sequence[Label]
    rows: Sequence[Label]
    cells: Sequence[tuple[Image.Image | None, str]]
    cell: tuple[int, int]
    legend: list[str] = field(default_factory=list)

    @cached_property
    def font(self) -> ImageFont.FreeTypeFont:
        return load_font(min(_LARGEST, max(_SMALLEST, self.cell[0] // 12)))

    @cached_property
    def line(self) -> int:
        """Height of a line."""
        return round(self.font.size * 1.35)

    def draw(self) -> Image.Image:
        width, height = self.cell
        columns, rows = _texts_of(self.columns), _texts_of(self.rows)
        column_labels = [self._label(text, width - PAD, LABEL_LINES) for text in columns]
        side = max((self.font.getlength(text) for text in rows), default=0.0)
        side_width = min(round(side + 1), max(140, round(width * 0.7)))
        row_labels = [self._label(text, side_width, max(1, height // self.line)) for text in rows]
        left = PAD + (side_width + PAD if any(rows) else 0)
        total_width = left + len(self.columns) * (width + PAD)
        titles = self._titles(total_width - 2 * PAD)
        top = PAD + len(titles) * self.line + (PAD if titles else 0)
        top += max(map(len, column_labels), default=0) * self.line + PAD // 2
        legend = self._legend(total_width - 2 * PAD)
        bottom = top + len(self.rows) * (height + PAD)
        total_height = bottom + len(legend) * self.line + (PAD if legend else 0)
        sheet = Image.new("RGB", (total_width, total_height), BACKGROUND)
        pen = ImageDraw.Draw(sheet)
        self._write(pen, PAD, PAD, titles)
        for index, lines in enumerate(column_labels):
            middle = left + index * (width + PAD) + width / 2
            self._write(pen, middle, top - PAD // 2 - len(lines) * self.line, lines, anchor="ma")
        for index, lines in enumerate(row_labels):
            y = top + index * (height + PAD) + (height - len(lines) * self.line) / 2
            self._write(pen, PAD, y, lines)
        for index, one in enumerate(self.cells):
            row, column = divmod(index, len(self.columns))
            self._paint(sheet, pen, (left + column * (width + PAD), top + row * (height + PAD)), one)
        self._write(pen, PAD, bottom, legend, fill=MUTED)
        return sheet

    def _titles(self, width: int) -> list[str]:
        title, _ = wrap(without_unknown(self.title), self.font, width, TITLE_LINES)
        subtitle, is_short = wrap(without_unknown(self.subtitle), self.font, width, 1)
        if is_short:
            self.legend.append(self.subtitle)
        return [*title, *subtitle]

    def _label(self, text: str, width: float, max_lines: int) -> list[str]:
        lines, is_short = wrap(text, self.font, width, max_lines)
        if is_short and text not in self.legend:
            self.legend.append(text)
        return lines

    def _legend(self, width: int) -> list[str]:
        lines = [line for text in self.legend for line in wrap(text, self.font, width, LEGEND_LINES)[0]]
        return lines[:MAX_LEGEND]

    def _write(
        self,
        pen: ImageDraw.ImageDraw,
        x: float,
        y: float,
        lines: Sequence[str],
        *,
        anchor: str = "la",
        fill: str = INK,
    ) -> None:
        for number, text in enumerate(lines):
            pen.text((x, y + number * self.line), text, font=self.font, fill=fill, anchor=anchor)

    def _paint(
        self, sheet: Image.Image, pen: ImageDraw.ImageDraw, at: tuple[int, int], one: tuple[Image.Image | None, str]
    ) -> None:
        (x, y), (width, height), (picture, reason) = at, self.cell, one
        if picture is not None:
            sheet.paste(picture, (x + (width - picture.width) // 2, y + (height - picture.height) // 2))
            return
        pen.rectangle((x, y, x + width - 1, y + height - 1), fill=BLANK)
        lines, _ = wrap(without_unknown(reason), self.font, width - 2 * PAD, max(1, (height - PAD) // self.line))
        middle = y + (height - len(lines) * self.line) / 2
        self._write(pen, x + width / 2, middle, lines, anchor="ma", fill=MUTED)


def _texts_of(labels: Sequence[Label]) -> list[str]:
    """`steps: 4`. A value in letters that the font lacks is shown by its number."""
    texts: list[str] = []
    for number, (option, value) in enumerate(labels, 1):
        shown = value if not value else without_unknown(value) or f"#{number}"
        texts.append(f"{option}: {shown}" if option else "")
    return texts


def _fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    flat = flatten(image)
    return flat if flat.size == size else flat.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def draw_grid_sheet(images: Sequence[Image.Image], values: Mapping[str, Any]) -> list[Image.Image]:
    """One sheet of the images.

    `values`: `title`, `subtitle`; `columns` and `rows`: pairs of an option and its value; `cells`, row by row: the
    number of an image from 0, or a text for a blank cell; `sizes`: of each image on the sheet; `cell`: width and height
    of a cell, which no image exceeds.
    """
    shown = [_fit(image, tuple(size)) for image, size in zip(images, values["sizes"], strict=True)]
    cells = [(shown[one], "") if isinstance(one, int) else (None, str(one)) for one in values["cells"]]
    sheet = _Sheet(
        title=values["title"],
        subtitle=values["subtitle"],
        columns=values["columns"],
        rows=values["rows"],
        cells=cells,
        cell=(int(values["cell"][0]), int(values["cell"][1])),
    )
    return [sheet.draw()]
