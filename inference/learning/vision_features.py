"""The vision encoder's output for every image of a training, computed once and kept on disk.

An image has several variants, a little moved, brighter or darker: examples are photos that never change, and a model
that sees each only once learns the photo instead of the thing.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from inference.learning.training_folder import open_image
from inference.learning.training_session import TrainingSession

FEATURES, DONE = "features.npy", "features.done"
_CHUNK = 16
"""Images that are encoded together, and after which progress is saved."""


class VisionFeatures:
    """Of `paths`, each in `variants` forms; form 0 is the image itself. In float16, on disk."""

    def __init__(
        self,
        session: TrainingSession,
        paths: Sequence[Path],
        variants: Sequence[int],
        preprocess: Callable[[Image.Image], Tensor],
        encode: Callable[[Tensor], Tensor],
    ) -> None:
        self._session = session
        self._paths = paths
        self._preprocess = preprocess
        self._encode = encode
        self.variants = list(variants)
        self._starts = np.concatenate([[0], np.cumsum(self.variants)]).tolist()
        self._file: Any = None

    def compute(self) -> None:
        """Encode what is not there yet. Raises: OSError, TrainingRefused: the disk is too small."""
        total = self._starts[-1]
        file, done_file = self._session.work / FEATURES, self._session.work / DONE
        done = int(done_file.read_text()) if done_file.is_file() and file.is_file() else 0
        if done < total:
            done = self._encode_rest(file, done_file, done, total)
        self._file = np.load(file, mmap_mode="r")

    def _encode_rest(self, file: Path, done_file: Path, done: int, total: int) -> int:
        rows = [(index, form) for index, count in enumerate(self.variants) for form in range(count)]
        values: Any = None
        if done:
            values = np.load(file, mmap_mode="r+")
        while done < total:
            self._session.proceed("encoding", done, total)
            part = rows[done : done + _CHUNK]
            states = self._encode(torch.cat([self._pixels(index, form) for index, form in part]))
            if values is None:
                shape = (total, *states.shape[1:])
                self._session.require_disk(2 * int(np.prod(shape)) + 2**24)
                values = np.lib.format.open_memmap(file, "w+", np.float16, shape)
                _allocate(file)
            values[done : done + len(part)] = states.float().cpu().numpy()
            done += len(part)
            values.flush()
            _replace_text(done_file, str(done))
        return done

    def _pixels(self, index: int, form: int) -> Tensor:
        image = open_image(self._paths[index])
        if form:
            image = vary_image(image, np.random.default_rng([self._session.request.seed, index, form]))
        return self._preprocess(image)

    def load(self, rows: Sequence[tuple[int, int]], device: torch.device, dtype: torch.dtype) -> Tensor:
        """Of images and forms: (rows, patches, width)."""
        numbers = [self._starts[index] + form for index, form in rows]
        return torch.from_numpy(np.stack([self._file[number] for number in numbers])).to(device, dtype)


def vary_image(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A little moved, enlarged or reduced, brighter or darker; never mirrored, because left and right have meaning."""
    scale, (left, top) = float(rng.uniform(0.85, 1.15)), rng.uniform(-0.08, 0.08, 2)
    width, height = image.size
    x, y = width * (0.5 - 0.5 / scale - left), height * (0.5 - 0.5 / scale - top)
    matrix = (1 / scale, 0, x, 0, 1 / scale, y)
    moved = _widen(image).transform(
        image.size,
        Image.Transform.AFFINE,
        (*matrix[:2], matrix[2] + width, *matrix[3:5], matrix[5] + height),
        Image.Resampling.BILINEAR,
    )
    moved = ImageEnhance.Brightness(moved).enhance(float(rng.uniform(0.9, 1.1)))
    return ImageEnhance.Contrast(moved).enhance(float(rng.uniform(0.92, 1.08)))


def _widen(image: Image.Image) -> Image.Image:
    """The image surrounded by its own edge, three times as large."""
    width, height = image.size
    pixels = np.asarray(image)
    return Image.fromarray(np.pad(pixels, ((height, height), (width, width), (0, 0)), mode="edge"))


def _allocate(file: Path) -> None:
    """A disk that fills up is an error here; later, writing to mapped memory would end the process.

    Raises: OSError.
    """
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


def _replace_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
