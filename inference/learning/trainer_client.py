"""The parent's side of trainings: starts a process for each, relays its progress, and lets it wait for people."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from bot.errors import EaselError, TrainingRefused
from bot.ports import TrainingProgress, TrainingReport, TrainingRequest
from inference.ipc import messages
from inference.ipc.pause_relay import relay_pauses
from inference.ipc.process import ChildProcess
from inference.ipc.training_messages import StartTraining


@dataclass
class TrainerClient:
    """Implements `bot.ports.Trainer`. `threads`: 0: torch's default; `module`: what the process runs."""

    threads: int = 0
    module: str = "inference.learning.trainer"
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def train(
        self, request: TrainingRequest, *, is_paused: Callable[[], bool]
    ) -> AsyncGenerator[TrainingProgress | TrainingReport, None]:
        if self._turn.locked():
            yield TrainingProgress(stage="queued")
        async with self._turn, aclosing(self._train(request, is_paused)) as events:
            async for event in events:
                yield event

    async def _train(
        self, request: TrainingRequest, is_paused: Callable[[], bool]
    ) -> AsyncGenerator[TrainingProgress | TrainingReport, None]:
        threads = request.threads or self.threads
        try:
            child = await ChildProcess.start("trainer", self.module, threads=threads)
        except OSError as error:
            raise TrainingRefused("failed", detail="its process could not be started") from error
        relaying = asyncio.create_task(relay_pauses(child, is_paused))
        try:
            model = replace(request.model, capabilities={})
            child.send(StartTraining(replace(request, model=model, threads=threads)))
            while True:
                message = await _receive(child)
                yield message
                if isinstance(message, TrainingReport):
                    return
        finally:
            relaying.cancel()
            await child.close()


async def _receive(child: ChildProcess) -> TrainingProgress | TrainingReport:
    """Raises: TrainingRefused."""
    message: object = None
    with contextlib.suppress(messages.ProtocolError):
        message = await child.receive()
    match message:
        case TrainingProgress() | TrainingReport():
            return message
        case messages.PackedError():
            raise _as_refusal(messages.unpack_error(message))
    raise TrainingRefused("ended")


def _as_refusal(error: EaselError) -> TrainingRefused:
    return error if isinstance(error, TrainingRefused) else TrainingRefused("failed", detail=error.code)
