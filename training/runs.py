"""Runs a training to its end: learning-rate schedule, weight averaging, checkpoints, progress, log.

A step's data depend only on (seed, step), so an interrupted run resumes as if it had not stopped.
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

LossFunction = Callable[[int, np.random.Generator], Tensor]


@dataclass(frozen=True)
class TrainingPlan:
    steps: int
    learning_rate: float
    warm_up: int = 100
    average_decay: float = 0.999
    weight_decay: float = 0.01
    seed: int = 0
    save_every: int = 200
    decay_share: float = 1.0
    """The share of the steps, at the end, over which the learning rate decays: below 1, a run can be extended."""

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, a plateau, then half a cosine down to 2 % of the peak."""
        warm_up = min(1.0, (step + 1) / self.warm_up)
        decay = max(0.0, step / self.steps - (1 - self.decay_share)) / self.decay_share
        return self.learning_rate * warm_up * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, decay))))


class WeightAverage:
    """An exponential moving average of a module's weights, which performs better than the weights themselves."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {k: v.detach().clone() for k, v in module.state_dict().items()}

    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        current = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
        torch._foreach_lerp_([self.weights[name] for name in current], list(current.values()), 1 - decay)


class TrainingRun:
    """One training with its checkpoint and log files. `module` has the averaged weights at the end."""

    def __init__(self, name: str, module: nn.Module, plan: TrainingPlan, folder: Path) -> None:
        self.name, self.module, self.plan = name, module, plan
        self.file = folder / f"{name}.pt"
        self.log = folder / f"{name}.csv"
        folder.mkdir(parents=True, exist_ok=True)
        trainable = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trainable, lr=plan.learning_rate, weight_decay=plan.weight_decay, betas=(0.9, 0.99)
        )
        self.average = WeightAverage(module, plan.average_decay)
        self.step, self.seconds = 0, 0.0
        if self.file.exists():
            self._load_checkpoint()

    def train(self, loss_function: LossFunction) -> float:
        """Train to the last step; returns the seconds spent, including earlier sessions."""
        steps = tqdm(range(self.step, self.plan.steps), self.name, mininterval=5.0)
        smoothed, started = 0.0, time.monotonic() - self.seconds
        for step in steps:
            loss = self._train_step(step, loss_function)
            smoothed = loss if smoothed == 0.0 else 0.98 * smoothed + 0.02 * loss
            self.step, self.seconds = step + 1, time.monotonic() - started
            if self.step % 50 == 0:
                steps.set_postfix(loss=f"{smoothed:.4f}", refresh=False)
                self._write_log(smoothed)
            if self.step % self.plan.save_every == 0 or self.step == self.plan.steps:
                self._save_checkpoint()
        self.module.load_state_dict(self.average.weights)
        return self.seconds

    def _train_step(self, step: int, loss_function: LossFunction) -> float:
        torch.manual_seed(self.plan.seed * 1_000_003 + step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate_at(step)
        loss = loss_function(step, np.random.default_rng([self.plan.seed, step]))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.average.update(self.module, step)
        return float(loss.detach())

    def _write_log(self, loss: float) -> None:
        with self.log.open("a", newline="") as file:
            csv.writer(file).writerow([self.step, f"{loss:.5f}", f"{self.seconds:.0f}"])

    def _save_checkpoint(self) -> None:
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

    def _load_checkpoint(self) -> None:
        state = torch.load(self.file, weights_only=True)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.weights = state["average"]
        self.step, self.seconds = state["step"], state["seconds"]


@contextmanager
def mixed_precision() -> Iterator[None]:
    """bfloat16 autocast and unfused attention: together three times as fast on CPUs.

    The backward pass of fused attention is slow on CPUs: 45 % of a step, measured.
    """
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        yield
