"""The one rule for transparency: a model sees what a person sees on a white page, never the colors under it."""

import io

from PIL import Image, ImageOps


def open_on_white(data: bytes) -> Image.Image:
    """The image as RGB; transparency becomes white. Raises what Pillow raises."""
    return flatten(Image.open(io.BytesIO(data)))


def flatten(image: Image.Image, background: str = "white") -> Image.Image:
    """The image as RGB on the background."""
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image).convert("RGB")


def cover_crop(data: bytes, width: int, height: int) -> Image.Image:
    """The image scaled to cover the size and cropped at its center; transparency becomes white."""
    return ImageOps.fit(open_on_white(data), (width, height), Image.Resampling.LANCZOS)
