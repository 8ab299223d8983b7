"""Draws a text or an image into a corner of every picture. Copy this file to `plugins/watermark.py` in the data
directory.

```toml
[plugins.watermark]
text = "made by our bot"
opacity = 0.7
position = "bottom-right"
```
"""

from pathlib import Path

import numpy
from PIL import Image, ImageDraw, ImageFont

SETTINGS = {
    "text": "Made with AI",
    "image": "",  # a PNG instead of the text: its path, or its name in the plugin's folder
    "opacity": 0.6,  # 0 to 1
    "position": "bottom-right",  # top-left, top-right, bottom-left, bottom-right, center
    "size": 0.07,  # height of the mark by the picture's shorter side
    "font": "",  # path of a .ttf or .otf file; empty: a built-in one for Latin letters
    "commands": [],  # only for these commands, such as ["imagine"]; empty: for all that make pictures
}
POSITIONS = {
    "top-left": (0, 0),
    "top-right": (1, 0),
    "bottom-left": (0, 1),
    "bottom-right": (1, 1),
    "center": (0.5, 0.5),
}
MAX_WIDTH = 0.9
"""Of the mark, by the picture's width."""


def easel_applies(plugin, task):
    return not plugin.settings["commands"] or task.command in plugin.settings["commands"]


def easel_after_decode(plugin, pixels):
    settings = plugin.settings
    if settings["position"] not in POSITIONS:
        raise ValueError(f"position must be one of {', '.join(POSITIONS)}")
    picture = Image.fromarray(pixels).convert("RGBA")
    height = max(8, round(min(picture.size) * settings["size"]))
    mark = draw_image(plugin, height) if settings["image"] else draw_text(settings, height)
    mark = fit(mark, picture.size)
    opacity = min(1.0, max(0.0, settings["opacity"]))
    mark.putalpha(mark.getchannel("A").point(lambda alpha: round(alpha * opacity)))
    margin = height // 2
    free = [max(0, side - own - 2 * margin) for side, own in zip(picture.size, mark.size, strict=True)]
    place = [round(margin + share * room) for share, room in zip(POSITIONS[settings["position"]], free, strict=True)]
    picture.alpha_composite(mark, tuple(place))
    return numpy.asarray(picture.convert("RGB"))


def draw_text(settings, height):
    """White letters with a dark edge, which can be read on every ground."""
    font = ImageFont.truetype(settings["font"], height) if settings["font"] else ImageFont.load_default(height)
    edge = height / 20
    left, top, right, bottom = font.getbbox(settings["text"], stroke_width=edge)
    mark = Image.new("RGBA", (max(1, round(right - left)), max(1, round(bottom - top))))
    ImageDraw.Draw(mark).text(
        (-left, -top), settings["text"], fill="white", font=font, stroke_width=edge, stroke_fill="black"
    )
    return mark


def draw_image(plugin, height):
    path = Path(plugin.settings["image"]).expanduser()
    with Image.open(path if path.is_absolute() else plugin.folder / path) as image:
        width = max(1, round(image.width * height / image.height))
        return image.convert("RGBA").resize((width, height), Image.Resampling.LANCZOS)


def fit(mark, size):
    """Smaller where it is too wide or too high for the picture."""
    scale = min(1.0, MAX_WIDTH * size[0] / mark.width, MAX_WIDTH * size[1] / mark.height)
    if scale == 1:
        return mark
    return mark.resize([max(1, round(side * scale)) for side in mark.size], Image.Resampling.LANCZOS)
