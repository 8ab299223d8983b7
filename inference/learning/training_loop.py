"""The loop that both kinds of training share: steps, waiting for people, checkpoints, and resuming from the last one.

Everything random is drawn from (seed, step), so a training that was killed and resumed ends with the same weights, to
the last bit, as one that was not. A checkpoint therefore has no state of random number generators; it holds the adapter
and the optimizer, never the model.
"""

import contextlib
import math
import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from bot.errors import TrainingRefused
from inference.learning.training_session import TrainingSession

CHECKPOINT = "checkpoint.pt"
LossFunction = Callable[[int, np.random.Generator, torch.Generator], Tensor]
"""The loss of a step, from its number, a generator for its examples and one for its noise (on the CPU)."""


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """`warmup`: steps in which the learning rate rises; it then falls to 0 along a cosine. `smoothing`: of the reported
    loss, as the share of the old value. `points`: at most so many of the loss plot. `save_before_waiting_s`: a
    checkpoint is older than this when one is made because the process has to wait."""

    steps: int
    learning_rate: float
    warmup: int = 20
    weight_decay: float = 0.0
    max_gradient: float = 1.0
    save_every_s: float = 20.0
    save_before_waiting_s: float = 2.0
    smoothing: float = 0.95
    points: int = 200


@dataclass
class LoopState:
    """`losses`: step and smoothed loss. `seconds`: of all its processes."""

    step: int = 0
    loss: float | None = None
    seconds: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)


class TrainingLoop:
    """Trains named parameters, which are float32, until `settings.steps`.

    Both kinds of training make one after `TrainingSession.open_work` and call `run`:

        loop = TrainingLoop(session, parameters, settings, loss)
        state = loop.run()

    `loss` computes its forward pass inside the loop's autocast (bfloat16 on CUDA where the card has it). The names of
    the parameters are the keys of the checkpoint.
    """

    def __init__(
        self,
        session: TrainingSession,
        parameters: Mapping[str, nn.Parameter],
        settings: LoopSettings,
        loss: LossFunction,
    ) -> None:
        self._session = session
        self._parameters = dict(parameters)
        self._settings = settings
        self._loss = loss
        self._accelerator = make_accelerator(session.request.device)
        optimizer = torch.optim.AdamW(
            self._parameters.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._optimizer = self._accelerator.prepare(optimizer)
        self.state = LoopState()
        self.restored_s = 0.0
        """Seconds of earlier processes, if it resumed."""

    def run(self) -> LoopState:
        """Raises: OSError: a checkpoint cannot be written; TrainingRefused: it diverged; what `loss` raises."""
        self._restore()
        steps, saved_at = self._settings.steps, time.monotonic()
        while self.state.step < steps:
            if self._session.must_wait and time.monotonic() - saved_at >= self._settings.save_before_waiting_s:
                self._save()
                saved_at = time.monotonic()
            self._session.proceed("training", self.state.step, steps, self.state.loss)
            self._take_step(self.state.step)
            if time.monotonic() - saved_at >= self._settings.save_every_s or self.state.step == steps:
                self._save()
                saved_at = time.monotonic()
        self._session.proceed("training", steps, steps, self.state.loss)
        return self.state

    def _take_step(self, step: int) -> None:
        seed = [self._session.request.seed, step]
        noise = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * self._rate(step)
        with self._accelerator.autocast():
            loss = self._loss(step, np.random.default_rng(seed), noise)
        self._accelerator.backward(loss)
        self._accelerator.clip_grad_norm_(self._parameters.values(), self._settings.max_gradient)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._record(float(loss.detach()))

    def _rate(self, step: int) -> float:
        """The learning rate of the step, as a share of the highest."""
        steps, warmup = self._settings.steps, min(self._settings.warmup, self._settings.steps // 10)
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    def _record(self, loss: float) -> None:
        """Raises: TrainingRefused: it is no number."""
        if not math.isfinite(loss):
            raise TrainingRefused("diverged")
        state, kept = self.state, self._settings.smoothing
        state.step += 1
        share = min(kept, 1 - 1 / state.step)  # the mean at first
        state.loss = loss if state.loss is None else share * state.loss + (1 - share) * loss
        every = max(1, self._settings.steps // self._settings.points)
        if state.step % every == 0 or state.step == self._settings.steps:
            state.losses.append((state.step, state.loss))

    # ------------------------------------------------------------ checkpoints

    def _save(self) -> None:
        self.state.seconds = self.restored_s + self._session.seconds
        weights = {name: parameter.detach().cpu() for name, parameter in self._parameters.items()}
        save_atomically(
            {"weights": weights, "optimizer": self._optimizer.state_dict(), "state": vars(self.state)},
            self._session.work / CHECKPOINT,
        )

    def _restore(self) -> None:
        """Continue from the last checkpoint, if it is intact and of these parameters."""
        stored = load_checkpoint(self._session.work / CHECKPOINT)
        if stored is None or _shapes_of(stored["weights"]) != _shapes_of(self._parameters):
            return
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(stored["weights"][name])
        self._optimizer.load_state_dict(stored["optimizer"])
        self.state = LoopState(**stored["state"])
        self.restored_s = self.state.seconds


def _shapes_of(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}


def make_accelerator(device: str) -> Accelerator:
    """bfloat16 where `can_train_in_bfloat16`, otherwise float32."""
    is_mixed = can_train_in_bfloat16(device)
    return Accelerator(cpu=device == "cpu", mixed_precision="bf16" if is_mixed else "no")


def can_train_in_bfloat16(device: str) -> bool:
    """On CUDA from Ampere on. The model is then loaded in bfloat16, the adapter is float32."""
    return device.startswith("cuda") and torch.cuda.get_device_capability(device)[0] >= 8


def save_atomically(values: Any, path: Path) -> None:
    """With torch, so that the file is complete or the old one. Raises: OSError."""
    part = path.with_name(path.name + ".part")
    with _disk_errors(part), part.open("wb") as file:
        torch.save(values, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


@contextlib.contextmanager
def _disk_errors(part: Path) -> Iterator[None]:
    """Removes the part that could not be written. torch hides the reason, which is then known by `is_disk_full`."""
    try:
        yield
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """None: there is none, or it is damaged."""
    if not path.is_file():
        return None
    try:
        values: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError):
        return None
    return values
