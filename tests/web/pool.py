"""A pool that works inside the test's own process: pictures of one colour, answers that repeat the question.

Words in the prompt (or question) steer it: `slow` waits for the test's word between steps, `fail` breaks.
"""

import asyncio
import io
from collections.abc import AsyncGenerator

from PIL import Image

from bot.errors import EngineError, JobCancelled, TooLarge, UnsupportedMedia
from bot.jobs import Media
from bot.ports import CleanPicture, Described, DeviceStatus, Done, Offer, Progress, Rendered, Task

STEP_S = 0.02


def picture(seed: int, width: int, height: int, kind: str = "PNG") -> bytes:
    shade = ((seed * 37) % 160 + 60, (seed * 91) % 160 + 60, (seed * 53) % 160 + 60)
    made = io.BytesIO()
    Image.new("RGB", (width, height), shade).save(made, kind)
    return made.getvalue()


class TestPool:
    """One device. `room` is how many tasks it takes at once."""

    __test__ = False

    def __init__(self, models: list[str], room: int = 1) -> None:
        self._models = frozenset(models)
        self._room = room
        self._running: dict[str, bool] = {}
        self._changed = asyncio.Event()
        self.watched: dict[str, bool] = {}
        self.go_on = asyncio.Event()
        self.state = "ready"

    def offers(self) -> list[Offer]:
        free = self._room - len(self._running)
        if free <= 0 or self.state != "ready":
            return []
        return [Offer(device="cpu", models=self._models, warm=self._models, free=free, idle=not self._running)]

    async def run(self, task: Task) -> AsyncGenerator[Progress | Described | Done, None]:
        words = str(task.options.get("prompt") or task.options.get("question") or "").split()
        self._running[task.id] = False
        self.watched.setdefault(task.id, task.watched)
        try:
            steps = int(task.options.get("steps") or 3)
            for step in range(1, steps + 1):
                await self._wait(task.id, is_slow="slow" in words and step > 1)
                if "fail" in words:
                    raise EngineError("the secret inner reason")
                preview = picture(step, 32, 32, "JPEG") if self.watched.get(task.id) else None
                yield Progress(step=step, steps=steps, preview=preview)
            yield self._finish(task)
        finally:
            del self._running[task.id]
            self._changed.set()

    async def _wait(self, task_id: str, *, is_slow: bool) -> None:
        await asyncio.sleep(STEP_S)
        while is_slow and not self.go_on.is_set() and not self._running[task_id]:  # noqa: ASYNC110 - either may come
            await asyncio.sleep(STEP_S)
        if self._running[task_id]:
            raise JobCancelled

    def _finish(self, task: Task) -> Done:
        if task.command != "imagine":
            return Done(text=f"It is {task.options.get('question', 'a picture')}", revision="test", seconds=0.5)
        width, height, seed = (int(task.options[name]) for name in ("width", "height", "seed"))
        made = [picture(seed + index, width, height) for index in range(int(task.options["count"]))]
        parameters = f"{task.options['prompt']}\nSeed: {seed}"
        pictures = tuple(
            Rendered(media=Media(data, "image/png"), width=width, height=height, parameters=parameters) for data in made
        )
        return Done(pictures=pictures, revision="test", seconds=0.5)

    def cancel(self, task_id: str) -> None:
        if task_id in self._running:
            self._running[task_id] = True

    def watch(self, task_id: str, watched: bool) -> None:
        self.watched[task_id] = watched

    async def wait_for_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def statuses(self) -> list[DeviceStatus]:
        return [DeviceStatus(device="cpu", state=self.state, warm=tuple(self._models), running=len(self._running))]

    async def drain(self, deadline_s: float) -> None:
        self.go_on.set()


class TestPictures:
    """Reads with Pillow, in this process: the pictures that tests make up are harmless."""

    __test__ = False

    async def clean(self, data: bytes) -> CleanPicture:
        if not data:
            raise UnsupportedMedia("empty")
        try:
            with Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP", "GIF"]) as opened:
                if opened.width * opened.height > 16_000_000:
                    raise TooLarge(limit=16, unit="megapixels")
                clean = opened.convert("RGB")
        except (OSError, SyntaxError) as error:
            raise UnsupportedMedia("damaged" if data[:4] == b"\x89PNG" else "not_a_picture") from error
        made = io.BytesIO()
        clean.save(made, "PNG")
        return CleanPicture(
            media=Media(made.getvalue(), "image/png"), width=clean.width, height=clean.height, parameters=None
        )
