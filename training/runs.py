"""Runs one training to its end: schedule, average of the weights, checkpoints, progress, log.

A step's data depend only on (seed, step), so a run that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm  # type: ignore[import-untyped]  # it ships no types

LossAt = Callable[[int, np.random.Generator], Tensor]


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn."""

    steps: int
    learning_rate: float
    warm_up: int = 100
    average: float = 0.999
    weight_decay: float = 0.01
    seed: int = 0
    save_every: int = 200
    fall: float = 1.0
    """The share of the steps, at the end, over which the learning rate falls: below 1, a run can be made longer."""

    def rate_at(self, step: int) -> float:
        """The learning rate: a linear rise, a plateau, then half a cosine down to 2 % of the peak."""
        rise = min(1.0, (step + 1) / self.warm_up)
        late = max(0.0, step / self.steps - (1 - self.fall)) / self.fall
        return self.learning_rate * rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, late))))


class Average:
    """A moving average of a module's weights, which draws better than the weights do."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {k: v.detach().clone() for k, v in module.state_dict().items()}

    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        now = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
        torch._foreach_lerp_([self.weights[name] for name in now], list(now.values()), 1 - decay)


class Run:
    """One training with a place on disk. `module` holds the averaged weights when it is done."""

    def __init__(self, name: str, module: nn.Module, plan: Plan, folder: Path) -> None:
        self.name, self.module, self.plan = name, module, plan
        self.file = folder / f"{name}.pt"
        self.log = folder / f"{name}.csv"
        folder.mkdir(parents=True, exist_ok=True)
        trainable = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trainable, lr=plan.learning_rate, weight_decay=plan.weight_decay, betas=(0.9, 0.99)
        )
        self.average = Average(module, plan.average)
        self.step, self.seconds = 0, 0.0
        if self.file.exists():
            self._load()

    def finish(self, loss_at: LossAt) -> float:
        """Train to the last step; returns the seconds spent, earlier sittings included."""
        steps = tqdm(range(self.step, self.plan.steps), self.name, mininterval=5.0)
        smooth, began = 0.0, time.monotonic() - self.seconds
        for step in steps:
            loss = self._learn(step, loss_at)
            smooth = loss if smooth == 0.0 else 0.98 * smooth + 0.02 * loss
            self.step, self.seconds = step + 1, time.monotonic() - began
            if self.step % 50 == 0:
                steps.set_postfix(loss=f"{smooth:.4f}", refresh=False)
                self._write_log(smooth)
            if self.step % self.plan.save_every == 0:
                self._save()
        self._save()
        self.module.load_state_dict(self.average.weights)
        return self.seconds

    def _learn(self, step: int, loss_at: LossAt) -> float:
        torch.manual_seed(self.plan.seed * 1_000_003 + step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate_at(step)
        loss = loss_at(step, np.random.default_rng([self.plan.seed, step]))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.average.update(self.module, step)
        return float(loss.detach())

    def _write_log(self, loss: float) -> None:
        with self.log.open("a", newline="") as file:
            csv.writer(file).writerow([self.step, f"{loss:.5f}", f"{self.seconds:.0f}"])

    def _save(self) -> None:
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "module": self.module.state_dict(),
            "average": self.average.weights,
            "optimizer": self.optimizer.state_dict(),
        }
        part = self.file.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.file)

    def _load(self) -> None:
        state = torch.load(self.file, weights_only=True)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.weights = state["average"]
        self.step, self.seconds = state["step"], state["seconds"]


@contextmanager
def fast_arithmetic() -> Iterator[None]:
    """bfloat16 where it is safe, and plain attention: together three times as fast here.

    The fused attention is slow going backwards on processors: 45 % of a step, measured.
    """
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        yield
