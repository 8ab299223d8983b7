"""Contact sheets of evaluated images."""

from __future__ import annotations

from PIL import Image

Images = list[Image.Image]


def contact_sheet(images: Images, columns: int = 20) -> Image.Image:
    """All images on one sheet."""
    side = images[0].width
    sheet = Image.new("RGB", (columns * side, -(-len(images) // columns) * side))
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * side, i // columns * side))
    return sheet
