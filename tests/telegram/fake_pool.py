"""A pool inside the test's own process. Words in the prompt or question steer it, as in `tests.web.fake_pool`:

`slow` stays at its second step until the test says go on, `fail` breaks, `large` makes pictures that no photo may be,
`long` answers at great length.
"""

import asyncio
import io
import random
from collections.abc import AsyncGenerator

from PIL import Image

from bot.errors import EngineError
from bot.jobs import Media
from bot.ports import ModelCapabilities, Progress, RenderedImage, Task, TaskOutput
from tests.web.fake_pool import TestPool, picture


class ChatPool(TestPool):
    """`step_s` is how long each step takes."""

    __test__ = False

    def __init__(self, models: list[str], slots: int = 8, step_s: float = 0.005) -> None:
        super().__init__(models, slots)
        self.step_s = step_s
        self.tasks: list[Task] = []

    @property
    def imagined(self) -> int:
        """How many pictures were asked for; a picture's caption for those who cannot see it does not count."""
        return sum(task.command == "imagine" for task in self.tasks)

    async def run_task(self, task: Task) -> AsyncGenerator[Progress | ModelCapabilities | TaskOutput, None]:
        self.tasks.append(task)
        async for event in super().run_task(task):
            yield event

    async def _step(self, task_id: str) -> None:
        await super()._step(task_id)
        await asyncio.sleep(self.step_s)

    def _finish(self, task: Task) -> TaskOutput:
        words = str(task.options.get("prompt") or task.options.get("question") or "").split()
        if "vanish" in words:
            raise EngineError("gone")
        if task.answers == "images":
            return self._pictures(task, is_large="large" in words)
        return TaskOutput(text=self._text(task, words), revision="test", seconds=0.5)

    def _pictures(self, task: Task, *, is_large: bool) -> TaskOutput:
        width, height = int(task.options.get("width") or 64), int(task.options.get("height") or 64)
        seed, count = int(task.options.get("seed") or 0), int(task.options.get("count") or 1)
        made = [noise(seed) if is_large else picture(seed + at, width, height) for at in range(count)]
        parameters = f"{task.options.get('prompt', '')}\nSeed: {seed}"
        return TaskOutput(
            images=tuple(
                RenderedImage(media=Media(data, "image/png"), width=width, height=height, parameters=parameters)
                for data in made
            ),
            revision="test",
            seconds=0.5,
        )

    def _text(self, task: Task, words: list[str]) -> str:
        if "long" in words:
            return "\U0001f98a " * 3000
        if task.command == "describe":
            return "\n".join(f"a fox, number {number}" for number in range(1, int(task.options.get("count") or 4) + 1))
        if len(task.images) > 1:
            return "\n".join(f"{at}. a picture" for at, _ in enumerate(task.images, 1))
        return f"It is {task.options.get('question', 'a picture')}"


def noise(seed: int) -> bytes:
    """A PNG of more than ten megabytes."""
    made = io.BytesIO()
    Image.frombytes("RGB", (1890, 1890), random.Random(seed).randbytes(1890 * 1890 * 3)).save(made, "PNG")
    return made.getvalue()
