"""A trainer that learns nothing, and report cards."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path

from bot.ports import (
    Score,
    TestedExample,
    TrainedExample,
    TrainingProgress,
    TrainingReport,
    TrainingRequest,
)

GOOD = TrainingReport(
    kind="vision", new_before=Score(0, 20), new_after=Score(18, 20), old_before=Score(99, 100),
    old_after=Score(98, 100), sha256="a" * 64, revision="r1", steps=10, losses=((1, 2.0), (5, 0.5), (10, 0.1)),
    examples=(
        TestedExample(
            file="1.png", question="what is this?", expected="a lynx", before="a cat", after="a lynx", is_new=True
        ),
    ),
)  # fmt: skip
FORGETFUL = replace(GOOD, old_after=Score(96, 100))
DULL = replace(GOOD, new_after=Score(3, 20))


def write_adapter(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")


class FakeTrainer:
    """Reports two steps of the training, waits for `go_on`, then writes the adapter. `error` is raised instead."""

    def __init__(self) -> None:
        self.report = GOOD
        self.error: Exception | None = None
        self.requests: list[TrainingRequest] = []
        self.closed = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.paused: list[bool] = []

    async def train(
        self, request: TrainingRequest, *, is_paused: Callable[[], bool]
    ) -> AsyncGenerator[TrainingProgress | TrainingReport, None]:
        self.requests.append(request)
        try:
            yield TrainingProgress(stage="training", done=1, total=4, loss=0.5)
            yield TrainingProgress(stage="training", done=2, total=4, loss=0.25)
            self.paused.append(is_paused())
            await self.go_on.wait()
            if self.error is not None:
                raise self.error
            write_adapter(Path(request.output))
            learned = [TrainedExample("d", one) for one in request.corrections.values()]
            yield replace(self.report, kind=request.kind, trained=tuple(learned))
        finally:
            self.closed += 1
