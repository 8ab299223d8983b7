"""The artwork of the objects: from Noto Emoji, stored in `noto/objects.json`, rendered at any size.

`python -m training.artwork` rewrites `noto/objects.json` from the pinned package; nothing else here needs the network.
The artwork is Google's, Apache-2.0: `noto/LICENSE` must accompany every copy of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import urllib.request
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image, ImageFilter

from training.colours import COLOURS, colour_rgb
from training.objects import OBJECTS

PACKAGE = "https://registry.npmjs.org/@iconify-json/noto/-/noto-1.2.9.tgz"
SHA256 = "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"
ARTWORK_FILE = Path(__file__).parent / "noto" / "objects.json"
VISIBLE_ALPHA = 24
OVERSAMPLE = 2
MAX_COLOUR_DISTANCE, MIN_HIDDEN_SHARE = 64, 0.5


@lru_cache(maxsize=20_000)
def render_sprite(name: str, side: int) -> np.ndarray:
    """An object whose bounding box fits a square: RGBA, shape (side, side, 4), uint8, read-only."""
    body, box = load_artwork()[name]["body"], load_artwork()[name]["box"]
    large = _rasterize(body, box, side * OVERSAMPLE)
    pixels = np.asarray(large.convert("RGBa").reduce(OVERSAMPLE).convert("RGBA"))
    pixels.setflags(write=False)
    return pixels


@cache
def load_artwork() -> dict[str, dict[str, Any]]:
    """By object: `body`, the content of its `<svg>`; `box`, the square it fills (left, top, side); `hidden_on`, the
    backgrounds on which it is not visible."""
    artwork: dict[str, dict[str, Any]] = json.loads(ARTWORK_FILE.read_text())
    return artwork


def download_artwork() -> None:
    """Download the package, verify it, and store the icons of `OBJECTS`."""
    with urllib.request.urlopen(PACKAGE, timeout=60) as response:
        package = response.read()
    digest = hashlib.sha256(package).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"the package is not the pinned one: SHA-256 {digest}")
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        member = archive.extractfile("package/icons.json")
        assert member is not None
        icons = json.load(member)["icons"]
    artwork = {}
    for name, entry in OBJECTS.items():
        body = icons[entry.icon]["body"]
        box = _bounding_square(_rasterize(body, (0, 0, 128), 512))
        artwork[name] = {"box": box, "hidden_on": _hidden_on(_rasterize(body, box, 96)), "body": body}
    ARTWORK_FILE.parent.mkdir(exist_ok=True)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in artwork.items())
    ARTWORK_FILE.write_text(f"{{\n{lines}\n}}\n")


def _rasterize(body: str, box: tuple[float, float, float], side: int) -> Image.Image:
    left, top, width = box
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {width}" width="{side}" height="{side}">{body}</svg>'
    )
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg)))).convert("RGBA")


def _bounding_square(image: Image.Image) -> tuple[float, float, float]:
    """The smallest square around the visible pixels, in the icon's own 128 units."""
    visible = np.asarray(image)[..., 3] > VISIBLE_ALPHA
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = max(bottom - top, right - left)
    unit = 128 / image.width
    corner = ((left + right - side) / 2 * unit, (top + bottom - side) / 2 * unit)
    return round(float(corner[0]), 2), round(float(corner[1]), 2), round(float(side * unit), 2)


def _hidden_on(image: Image.Image) -> list[str]:
    """The colours that most of the object, and most of its rim, are close to."""
    pixels = np.asarray(image).astype(np.float32)
    solid = pixels[..., 3] > 200
    inner = np.asarray(Image.fromarray(solid).convert("L").filter(ImageFilter.MinFilter(5))) > 0
    colours = []
    for colour in COLOURS:
        is_near = np.linalg.norm(pixels[..., :3] - colour_rgb(colour), axis=-1) < MAX_COLOUR_DISTANCE
        if is_near[solid].mean() * is_near[solid & ~inner].mean() > MIN_HIDDEN_SHARE:
            colours.append(colour)
    return colours


if __name__ == "__main__":
    download_artwork()
