"""Reads and checks a training folder: images and `metadata.jsonl`, as the Hub's imagefolder data sets have.

Each line is a JSON object: `file_name`, and `question` with `answer`, or `caption` (or `text`, as Diffusers' recipes
call it). Each fault is a sentence that names file and line. Imports no torch.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from bot.errors import TrainingRefused
from bot.ports import TrainedExample
from inference.images.flatten import flatten
from inference.learning.training_session import TrainingSession, format_size

METADATA = "metadata.jsonl"
MIN_EXAMPLES = 8
"""Of different images: fewer cannot be split into those that are trained and those that test."""
MIN_PICTURES = 4
"""For image models, whose test needs none of them."""
MAX_EXAMPLES = 20_000
MAX_METADATA_BYTES = 64 * 2**20
MAX_IMAGE_BYTES = 50 * 2**20
MAX_MEGAPIXELS = 50
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")


@dataclass(frozen=True)
class Example:
    """One line of the folder.

    Attributes:
        file: as the line names it.
        question: empty: `answer` is a caption.
        answer: empty: the folder has no caption for it (only if texts are not required).
        line: in the metadata, from 1; 0: there is none.
        image: SHA-256 of the file.
    """

    file: str
    path: Path
    question: str
    answer: str
    line: int
    image: str

    @property
    def digest(self) -> str:
        """SHA-256 of image, question and answer."""
        return hashlib.sha256("\0".join((self.image, self.question, self.answer)).encode()).hexdigest()

    def as_trained(self, corrections: Mapping[str, str], *, is_held_out: bool) -> TrainedExample:
        return TrainedExample(self.digest, corrections.get(self.file), is_held_out)


def open_image(path: Path) -> Image.Image:
    """Upright, as RGB on white. Raises what Pillow raises."""
    with Image.open(path) as image:
        return flatten(ImageOps.exif_transpose(image))


def is_too_large(path: Path) -> bool:
    """Whether it has more pixels than are decoded. Raises what Pillow raises."""
    with Image.open(path) as image:
        return image.width * image.height > MAX_MEGAPIXELS * 10**6


def read_examples(session: TrainingSession, *, require_texts: bool = True) -> list[Example]:
    """All examples of the request's folder, checked, in the order of its lines.

    `require_texts`: otherwise a line or image without texts is an example without a caption, and `metadata.jsonl` may
    be missing.

    Raises: TrainingRefused.
    """
    folder = Path(session.request.folder)
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
        raise TrainingRefused("no_folder", folder=str(folder))
    reader = _FolderReader(folder, require_texts)
    lines = list(reader.read_lines())
    if len(lines) > MAX_EXAMPLES:
        raise TrainingRefused("many_examples", folder=str(folder), limit=MAX_EXAMPLES)
    examples = []
    for number, line in enumerate(lines):
        session.proceed("checking", number, len(lines))
        try:
            examples.append(reader.check_line(line))
        except TrainingRefused:
            if str(line.values.get("file_name")) not in session.request.corrections:
                raise  # what other people sent stops nothing
    minimum = MIN_EXAMPLES if require_texts else MIN_PICTURES
    return require_enough(_choose_distinct(examples, session.request.corrections), str(folder), minimum)


@dataclass(frozen=True)
class _Line:
    number: int
    values: Mapping[str, Any]


class _FolderReader:
    def __init__(self, folder: Path, require_texts: bool) -> None:
        self._folder = folder
        self._require_texts = require_texts
        self._images: dict[Path, str] = {}

    def read_lines(self) -> Iterator[_Line]:
        path = self._folder / METADATA
        if not path.is_file():
            if self._require_texts:
                raise TrainingRefused("no_metadata", folder=str(self._folder))
            yield from (_Line(0, {"file_name": name}) for name in list_images(self._folder))
            return
        if path.stat().st_size > MAX_METADATA_BYTES:
            raise TrainingRefused("large_metadata", file=METADATA, limit=format_size(MAX_METADATA_BYTES))
        for number, raw in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            if raw.strip():
                yield _Line(number, _parse_line(number, raw))

    def check_line(self, line: _Line) -> Example:
        """Raises: TrainingRefused."""
        name = _text_of(line, "file_name")
        if not name:
            raise _refusal("no_file_name", line)
        question, answer = self._texts_of(line)
        path = self._find_image(line, name)
        return Example(name, path, question, answer, line.number, self._check_image(line, name, path))

    def _texts_of(self, line: _Line) -> tuple[str, str]:
        question, answer = _text_of(line, "question"), _text_of(line, "answer")
        caption = _text_of(line, "caption") or _text_of(line, "text")
        if answer and not question and not caption:
            raise _refusal("no_question", line)
        if answer and question:
            return question, answer
        if not caption and self._require_texts:
            raise _refusal("no_answer", line)
        return "", caption

    def _find_image(self, line: _Line, name: str) -> Path:
        try:
            path = (self._folder / name).resolve()
            if not path.is_relative_to(self._folder.resolve()):
                raise _refusal("outside", line, image=name)
            is_file = path.is_file()
        except (OSError, ValueError):  # a name that no file can have
            is_file = False
        if not is_file:
            raise _refusal("no_image", line, image=name)
        return path

    def _check_image(self, line: _Line, name: str, path: Path) -> str:
        """The SHA-256 of an image that opens. Raises: TrainingRefused."""
        if path in self._images:
            return self._images[path]
        if path.stat().st_size > MAX_IMAGE_BYTES:
            raise _refusal("large_image", line, image=name, limit=format_size(MAX_IMAGE_BYTES))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if is_too_large(path):
                    raise _refusal("large_image", line, image=name, limit=f"{MAX_MEGAPIXELS} MP")
                open_image(path)
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except TrainingRefused:
            raise
        except MemoryError:
            raise
        except Exception as error:  # Pillow's formats raise many types
            raise _refusal("broken_image", line, image=name) from error
        self._images[path] = digest
        return digest


def list_images(folder: Path) -> list[str]:
    """The names of the images in the folder, sorted; links and hidden files are left out."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not path.is_symlink()
        and not path.name.startswith(".")
    )


def _parse_line(number: int, raw: bytes) -> Mapping[str, Any]:
    try:
        values = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TrainingRefused("not_utf8", line=number, file=METADATA) from error
    except (ValueError, RecursionError) as error:
        detail = getattr(error, "msg", "") or "it is nested too deeply"
        raise TrainingRefused("bad_json", line=number, file=METADATA, detail=detail) from error
    if not isinstance(values, dict):
        raise TrainingRefused("bad_json", line=number, file=METADATA, detail="it must be in braces, {...}")
    return values


def _text_of(line: _Line, field: str) -> str:
    """Without surrounding space, on one line; empty: missing or null. Raises: TrainingRefused: it is not a text."""
    value = line.values.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _refusal("not_text", line, field=field)
    return value.strip() if field == "file_name" else " ".join(value.replace("\0", "").split())


def _refusal(problem: str, line: _Line, **data: str | int) -> TrainingRefused:
    if not line.number:  # there is no metadata
        return _refuse_file(problem, **data)
    return TrainingRefused(problem, line=line.number, file=METADATA, **data)


def _refuse_file(problem: str, image: str | int = "", limit: str | int = "") -> TrainingRefused:
    if problem == "large_image":
        return TrainingRefused("large_file", file=image, limit=limit)
    return TrainingRefused("broken", file=image)


def _choose_distinct(examples: list[Example], corrections: Mapping[str, str]) -> list[Example]:
    """Without lines that say the same or contradict one another, where one of them is a correction: the owner's own
    line counts, else the later one.

    Raises: TrainingRefused: both are the owner's own.
    """
    known: dict[tuple[str, str], Example] = {}
    for example in examples:
        key = (example.image, example.question.casefold())
        first = known.get(key)
        if first is None or first.file in corrections:
            known[key] = example
        elif example.file not in corrections:
            if not example.line:  # there is no metadata
                raise TrainingRefused("repeated_file", file=example.file, first=first.file)
            is_same = first.answer.casefold() == example.answer.casefold()
            problem = "repeated" if is_same else "contradiction"
            raise TrainingRefused(problem, line=example.line, file=METADATA, first=first.line)
    return sorted(known.values(), key=lambda example: example.line)


def require_enough(examples: list[Example], folder: str, minimum: int = MIN_EXAMPLES) -> list[Example]:
    """Raises: TrainingRefused: they are of too few different images."""
    count = len({example.image for example in examples})
    if count < minimum:
        raise TrainingRefused("few_examples", folder=folder, count=count, limit=minimum)
    return examples
