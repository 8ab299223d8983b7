"""Text on composed pictures: wrapped, shortened where it is too long, in a font that is shipped.

The font has Latin, Greek, Cyrillic, Hebrew, Arabic, Armenian and Georgian letters and many signs. It is in memory
before the process gives up its files.
"""

import io
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

FONT = Path(__file__).with_name("fonts") / "DejaVuSans.ttf"
_DATA = FONT.read_bytes()
_ABSENT = "\U0010ffff"
"""A character that no font has."""
_MIN_SHOWN = 0.5
"""A text of which the font has less is not shown."""
ELLIPSIS = "\u2026"


@lru_cache(maxsize=8)
def load_font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(io.BytesIO(_DATA), size)


load_font(16).getlength("\u05d0\u0628")  # loads what shapes right-to-left text


@lru_cache(maxsize=4096)
def _is_known(char: str) -> bool:
    font = load_font(16)
    return char.isspace() or bytes(font.getmask(char)) != bytes(font.getmask(_ABSENT))


def without_unknown(text: str) -> str:
    """The text without characters that the font lacks; empty where too little would be left to understand."""
    known = "".join(char for char in text if _is_known(char)).strip()
    return known if len(known) >= _MIN_SHOWN * len(text.strip()) else ""


def wrap(text: str, font: ImageFont.FreeTypeFont, width: float, max_lines: int) -> tuple[list[str], bool]:
    """The lines, and whether the text was shortened to fit them. Words that are too long are broken."""
    lines: list[str] = []
    rest = " ".join(text.split())
    while rest:
        end = _fitting(rest, font, width)
        if end < len(rest) and len(lines) + 1 == max_lines:
            return [*lines, _shorten(rest, font, width)], True
        lines.append(rest[:end].strip())
        rest = rest[end:].strip()
    return lines, False


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: float) -> int:
    """How many characters fit one line, up to the end of a word if one fits; at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    if low < len(text) and (space := text.rfind(" ", 0, low + 1)) > 0:
        return space
    return low


def _shorten(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    end = _fitting(text, font, max(1.0, width - font.getlength(ELLIPSIS)))
    return text[:end].strip() + ELLIPSIS
