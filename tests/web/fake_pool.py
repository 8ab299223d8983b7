"""A pool in the test's process: it generates pictures of one colour, and answers that repeat the question.

Words in the prompt or question control it: `slow` waits at its second step for `go_on`, `loads` for its model, which
takes 20 s more until `go_on`, `fail` raises. With safety
rules, pictures are scored: `nude` ones 0.9, `unseen` ones not at all, `nan` fails the check, and the input picture of
`nudes` scores 0.9. `installed` is the classifier's state: if it is False, nothing has a score.
"""

import asyncio
import io
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace

from PIL import Image

from bot.commands.match import split_texts
from bot.errors import Blocked, EngineError, JobCancelled
from bot.jobs import Media, TextUsage
from bot.models import ModelSpec
from bot.ports import (
    RANK,
    DeviceStatus,
    MatchScore,
    ModelCapabilities,
    Offer,
    Progress,
    RenderedImage,
    Task,
    TaskOutput,
    UnloadResult,
)
from bot.safety.policy import check_input_score

STEP_S = 0.02


def picture(seed: int, width: int, height: int, kind: str = "PNG") -> bytes:
    shade = ((seed * 37) % 160 + 60, (seed * 91) % 160 + 60, (seed * 53) % 160 + 60)
    file = io.BytesIO()
    Image.new("RGB", (width, height), shade).save(file, kind)
    return file.getvalue()


class TestPool:
    """One device. `slots`: how many tasks run concurrently."""

    __test__ = False

    def __init__(self, models: list[str], slots: int = 1) -> None:
        self._models = frozenset(models)
        self._slots = slots
        self._running: dict[str, bool] = {}
        self._changed = asyncio.Event()
        self.watched: dict[str, bool] = {}
        self._has_no_preview: set[str] = set()
        self.go_on = asyncio.Event()
        self.state = "ready"
        self.installed = True

    def list_offers(self, reserved: Mapping[str, Sequence[str]] | None = None) -> list[Offer]:
        free = self._slots - len(self._running) - len((reserved or {}).get("cpu", ()))
        if free <= 0 or self.state != "ready":
            return []
        return [
            Offer(device="cpu", models=self._models, loaded=self._models, free_slots=free, is_idle=free == self._slots)
        ]

    def set_models(self, models: Sequence[ModelSpec]) -> None:
        self._models = frozenset(model.name for model in models)
        self._changed.set()

    async def run_task(self, task: Task) -> AsyncGenerator[Progress | ModelCapabilities | TaskOutput, None]:
        words = str(task.options.get("prompt") or task.options.get("question") or "").split()
        if task.is_safety_check:
            yield TaskOutput(scores=(*[self._input_score(words)] * (len(task.images) - 1), self._score(words)))
            return
        self._running[task.id] = False
        self.watched.setdefault(task.id, task.wants_previews)
        self._has_no_preview |= {task.id} if task.rules and not task.rules.may_preview else set()
        try:
            if task.images:
                check_input_score(task.rules, self._input_score(words))
            steps = int(task.options.get("steps") or 3)
            while "loads" in words and not self.go_on.is_set():
                await self._step(task.id)
                yield Progress(step=0, steps=steps, phase="loading", load_s=20.0)
            for step in range(1, steps + 1):
                await self._step(task.id)
                if "fail" in words:
                    raise EngineError("the secret inner reason")
                yield self._progress(task, step, steps)
                while "slow" in words and step == 2 and not self.go_on.is_set():
                    await self._step(task.id)
                    yield self._progress(task, step, steps)
            yield self._apply_rules(self._finish(task), task, words)
        finally:
            del self._running[task.id]
            self._changed.set()

    async def _step(self, task_id: str) -> None:
        await asyncio.sleep(STEP_S)
        if self._running[task_id]:
            raise JobCancelled

    def _progress(self, task: Task, step: int, steps: int) -> Progress:
        """With a preview of a picture, or a word of an answer for each step."""
        if task.answers != "images":
            words = (self._finish(task).text or "").split(" ")
            return Progress(step=step, steps=steps, text=" ".join(words[:step]))
        is_shown = self.watched.get(task.id) and task.id not in self._has_no_preview
        preview = picture(step, 32, 32, "JPEG") if is_shown else None
        return Progress(step=step, steps=steps, preview=preview)

    def _apply_rules(self, done: TaskOutput, task: Task, words: list[str]) -> TaskOutput:
        if task.rules is None:
            return done
        score = self._score(words)
        return replace(done, images=tuple(replace(image, nsfw=score) for image in done.images))

    def _input_score(self, words: list[str]) -> float | None:
        return None if not self.installed else 0.9 if "nudes" in words else 0.0

    def _score(self, words: list[str]) -> float | None:
        if "nan" in words:
            raise Blocked("unchecked")
        return None if "unseen" in words or not self.installed else 0.9 if "nude" in words else 0.1

    def _finish(self, task: Task) -> TaskOutput:
        if task.command == "describe":
            lines = [f"prompt {number}" for number in range(1, int(task.options["count"]) + 1)]
            return TaskOutput(text="\n".join(lines), revision="test", seconds=0.5)
        if task.command == RANK:  # the later ones of its images match better
            matches = tuple(MatchScore(float(number)) for number, _ in enumerate(task.images))
            return TaskOutput(matches=matches, revision="test", seconds=0.5)
        if task.command == "match":
            lines = [f"50 % {text}" for text in split_texts(task.options["texts"])]
            return TaskOutput(text="\n".join(lines), revision="test", seconds=0.5)
        if task.answers != "images":
            text = f"It is {task.options.get('question', 'a picture')}"
            written = len(text.split(" "))
            is_cut = written >= int(task.options["max_new_tokens"])
            usage = TextUsage(read=7, written=written, is_cut=is_cut)
            return TaskOutput(text=text, usage=usage, revision="test", seconds=0.5)
        width, height, seed = (int(task.options[name]) for name in ("width", "height", "seed"))
        files = [picture(seed + index, width, height) for index in range(int(task.options["count"]))]
        parameters = f"{task.options.get('prompt', '')}\nSeed: {seed}"
        pictures = tuple(
            RenderedImage(
                media=Media(data, "image/png"),
                width=width,
                height=height,
                parameters=parameters,
                index=index,
                seed=seed + index,
            )
            for index, data in enumerate(files)
        )
        return TaskOutput(images=pictures, revision="test", seconds=0.5)

    def cancel_task(self, task_id: str) -> None:
        if task_id in self._running:
            self._running[task_id] = True

    def keep_rows(self, task_id: str, step: int, kept: Sequence[int]) -> None:
        """It asks for no choice."""

    def set_previews(self, task_id: str, wanted: bool) -> None:
        self.watched[task_id] = wanted

    async def wait_for_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def device_statuses(self) -> list[DeviceStatus]:
        return [DeviceStatus(device="cpu", state=self.state, loaded=tuple(self._models), running=len(self._running))]

    async def unload_idle_models(self) -> UnloadResult:
        return UnloadResult(models=tuple(self._models), freed_mb=512)

    async def drain(self, deadline_s: float) -> None:
        self.go_on.set()
