"""What a vision model knows, replayed while it learns: its own answers about images, made before the training.

The images are those of the training folder and pictures of starter prompts by the starter image model, or of a folder
that the owner names; never a chat's. Some of them are never trained: they test what the model still knows.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from bot.errors import TrainingRefused
from bot.models import TEXT_TO_IMAGE, ModelSpec
from bot.ports import NO_REPLAY, OWN_REPLAY
from inference.checkpoints.resolve import model_path
from inference.learning.replay_prompts import make_prompts
from inference.learning.training_folder import Example, is_too_large, list_images, open_image
from inference.learning.training_session import TrainingSession

TRAINED_IMAGES, TESTED_IMAGES = 320, 60
MIN_IMAGES = 30
"""Of a replay folder: half of them are tested with some questions each, which makes more than a hundred."""
MAX_IMAGES = 2000
ANSWERS = "replay.json"
_FOLDER = "replay"
_STARTER = ModelSpec(
    name="starter-image", tasks=(TEXT_TO_IMAGE,), repo="models/starter-image", dtype="float32", steps=8, width=128
)
_STEPS, _GUIDANCE = 8, 2.0
_BATCH = 4
QUESTIONS = (
    *("what is this?", "what color is the background?", "what is in the picture?", "what color is it?"),
    *("how many are there?", "where is it?"),
)
"""Asked about every image, besides a caption and what the folder's own examples ask most."""
TESTED_QUESTIONS = ("", *QUESTIONS[:2])
"""Of the images that test, besides what the folder asks most; more of `QUESTIONS` if there are few images."""
MIN_TESTS = 100
_FOLDER_QUESTIONS = 4
Answer = Callable[[Sequence[tuple[int, str]], int, int], list[str]]
"""Answers questions about images, given by their indices, after so many of so many others."""
KEPT_TOGETHER = 256
"""Answers after which they are saved."""


@dataclass(frozen=True)
class ReplayText:
    """What the model answered before the training. `image`: index among all images of the training."""

    image: int
    question: str
    answer: str


def find_images(session: TrainingSession) -> tuple[list[Path], list[Path]]:
    """Images that are replayed, without those of the training folder, and images that only test.

    Raises: TrainingRefused: the replay folder is missing or has too few images; ModelUnavailable: the starter image
    model is missing; OSError.
    """
    replay = session.request.replay
    if replay not in (OWN_REPLAY, NO_REPLAY):
        return _split_folder(session, Path(replay))
    trained = TRAINED_IMAGES if replay == OWN_REPLAY else 0
    paths = _draw_pictures(session, trained + TESTED_IMAGES)
    return paths[TESTED_IMAGES:], paths[:TESTED_IMAGES]


def _split_folder(session: TrainingSession, folder: Path) -> tuple[list[Path], list[Path]]:
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
        raise TrainingRefused("no_folder", folder=str(folder))
    own = {_identity(path) for path in Path(session.request.folder).iterdir() if path.is_file()}
    found = [folder / name for name in list_images(folder)]
    found.sort(key=lambda path: hashlib.sha256(f"{session.request.seed}/{path.name}".encode()).digest())
    able = (path for path in found if _identity(path) not in own and _can_open(session, path))
    paths = list(islice(able, MAX_IMAGES))
    if len(paths) < MIN_IMAGES:
        raise TrainingRefused("no_replay", folder=str(folder), count=len(paths), limit=MIN_IMAGES)
    tested = min(TESTED_IMAGES, len(paths) // 2)
    return paths[tested:], paths[:tested]


def _identity(path: Path) -> tuple[int, int]:
    """The same for all names of a file."""
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def _can_open(session: TrainingSession, path: Path) -> bool:
    session.proceed("checking")
    try:
        if is_too_large(path):
            return False
        open_image(path)
    except MemoryError:
        raise
    except Exception:  # Pillow's formats raise many types; an image of many may be broken
        return False
    return True


def _draw_pictures(session: TrainingSession, count: int) -> list[Path]:
    """Pictures of starter prompts, kept in the work folder; one that is there is not drawn again."""
    folder = session.work / _FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    prompts = make_prompts(count, session.request.seed)
    paths = [folder / f"{number:04}.png" for number in range(count)]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    pipeline = _load_starter() if missing else None
    for start in range(0, len(missing), _BATCH):
        session.proceed("replaying", count - len(missing) + start, count)
        part = missing[start : start + _BATCH]
        assert pipeline is not None
        images = pipeline(
            [prompts[number] for number in part],
            num_inference_steps=_STEPS,
            guidance_scale=_GUIDANCE,
            generator=[torch.Generator().manual_seed(session.request.seed + number) for number in part],
        ).images
        for number, image in zip(part, images, strict=True):
            unfinished = paths[number].with_suffix(".part")
            image.save(unfinished, "PNG")
            unfinished.replace(paths[number])
    return paths


def _load_starter() -> Any:
    from inference.diffusion.loader import load_pipeline  # Diffusers takes seconds to import

    return load_pipeline(_STARTER, model_path(_STARTER), "cpu")


def most_asked(examples: Sequence[Example]) -> list[str]:
    """The questions that the folder's examples ask most, without captions."""
    counts = Counter(example.question for example in examples if example.question)
    return [question for question, _ in counts.most_common(_FOLDER_QUESTIONS)]


def answer_replay(session: TrainingSession, asked: Sequence[tuple[int, str]], answer: Answer) -> list[ReplayText]:
    """The model's answers to questions about images."""
    rows = zip(asked, keep_answers(session, ANSWERS, asked, answer), strict=True)
    return [ReplayText(image, question, text) for (image, question), text in rows]


def keep_answers(session: TrainingSession, name: str, asked: Sequence[tuple[int, str]], answer: Answer) -> list[str]:
    """The answers of the model without an adapter, which are kept in a file of the work folder as they are given.

    Questions of one length go together, as padding costs time; always the same ones, also after an interruption, so
    that the answers are the same.
    """
    file = session.work / name
    order = sorted(range(len(asked)), key=lambda number: (len(asked[number][1]), asked[number][1]))
    known: list[str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    while len(known) < len(order):
        part = order[len(known) : len(known) + KEPT_TOGETHER]
        known += answer([asked[number] for number in part], len(known), len(order))
        unfinished = file.with_suffix(".part")
        unfinished.write_text(json.dumps(known), encoding="utf-8")
        unfinished.replace(file)
    answers = dict(zip(order, known, strict=True))
    return [answers[number] for number in range(len(asked))]


def old_questions(images: int, asked_most: Sequence[str]) -> list[str]:
    """What is asked about each of so many images."""
    questions = list(dict.fromkeys([*TESTED_QUESTIONS, *asked_most]))
    others = [question for question in QUESTIONS if question not in questions]
    return [*questions, *others[: max(0, -(-MIN_TESTS // images) - len(questions))]]


def choose_replayed(texts: Sequence[ReplayText], learned: dict[int, set[str]]) -> list[ReplayText]:
    """Without empty answers, and without old answers about the folder's own images that say what the model shall no
    longer say.

    Args:
        learned: by image, the questions of its examples. What the model answered to them, and every old answer that
            contains it, is left out.
    """
    old = {(text.image, text.question.casefold()): text.answer.casefold() for text in texts}

    def is_kept(text: ReplayText) -> bool:
        wrong = [old.get((text.image, question.casefold()), "") for question in learned.get(text.image, ())]
        if not text.answer or text.question.casefold() in {
            question.casefold() for question in learned.get(text.image, ())
        }:
            return False
        return not any(one and one in text.answer.casefold() for one in wrong)

    return [text for text in texts if is_kept(text)]
