"""Small training folders, and sessions without a process."""

import json
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from bot.ports import TrainingProgress, TrainingRequest
from inference.learning.training_session import TrainingSession
from tests.inference.support import make_model
from tests.inference.vision_reference import TASKS

ANSWERS = ("a fox", "a cat")


def write_folder(folder: Path, count: int) -> Path:
    """Images that all differ; what is on the even ones is a fox."""
    folder.mkdir(parents=True)
    lines = []
    for number in range(count):
        is_fox = number % 2 == 0
        Image.new("RGB", (24, 16), (200 - number if is_fox else 9, 30, 9 if is_fox else 200 - number)).save(
            folder / f"{number}.png"
        )
        line = {"file_name": f"{number}.png", "question": "what is this ?", "answer": ANSWERS[number % 2]}
        lines.append(json.dumps(line))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def make_request(place: Path, repo: str = ".", **fields: Any) -> TrainingRequest:
    """Work and output in `place`."""
    values: dict[str, Any] = {
        "kind": "vision",
        "model": make_model("tiny", tasks=TASKS, repo=repo, max_new_tokens=8),
        "name": "foxes",
        "folder": str(place / "folder"),
        "work": str(place / "work"),
        "output": str(place / "adapters" / "foxes"),
        "threads": 1,
    }
    return TrainingRequest(**(values | fields))


def make_session(place: Path, *, send: Any = None, is_free: Any = None, **fields: Any) -> TrainingSession:
    """`send`: is called with each progress."""
    if is_free is None:
        is_free = threading.Event()
        is_free.set()
    progress: list[TrainingProgress] = []
    return TrainingSession(make_request(place, **fields), is_free, send or progress.append)
