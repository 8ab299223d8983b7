"""One text on its way: what it may be, which word comes next, and when it ends."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

TOP_K = 50
"""What `generate` draws from when the model says nothing else."""


@dataclass(kw_only=True, eq=False)
class Row:
    """A text that is written in a batch.

    Attributes:
        owner, place: the task it is for, and which of the task's texts it is.
        most, least: tokens, without the prompt's.
        ends: tokens that end it.
        generator: draws its words; None: always the likeliest.
        warpers: what the scores go through before a word is drawn.
        has_ended: whether the ids so far end a text, by more than their last.
    """

    owner: str
    place: int = 0
    most: int
    least: int = 0
    ends: frozenset[int] = frozenset()
    generator: torch.Generator | None = None
    warpers: tuple[Any, ...] = ()
    has_ended: Callable[[Sequence[int]], bool] = lambda _ids: False
    ids: list[int] = field(default_factory=list)
    is_done: bool = False

    @property
    def must_go_on(self) -> bool:
        return len(self.ids) < self.least

    def take(self, token: int) -> None:
        self.ids.append(token)
        self.is_done = token in self.ends or len(self.ids) >= self.most or self.has_ended(self.ids)

    def draw(self, scores: torch.Tensor) -> int:
        """From scores (1, words), as `generate` draws with the same generator on a CPU."""
        for warp in self.warpers:
            scores = warp(None, scores)
        chances = scores.softmax(dim=-1).cpu()
        return int(torch.multinomial(chances, num_samples=1, generator=self.generator))


def choose(rows: Sequence[Row], scores: torch.Tensor) -> list[int]:
    """The next token of each row; `scores`: (rows, words)."""
    scores = scores.to(torch.float32, copy=True)
    for number, row in enumerate(rows):
        if row.must_go_on and row.ends:
            scores[number, list(row.ends)] = -torch.inf
    likeliest: list[int] = scores.argmax(dim=-1).tolist()
    return [
        likeliest[number] if row.generator is None else row.draw(scores[number : number + 1])
        for number, row in enumerate(rows)
    ]


def is_sampling(options: Mapping[str, Any]) -> bool:
    """Words are drawn at random above a temperature of 0, and when `top_p` leaves some out."""
    return float(options.get("temperature", 0.0)) > 0 or float(options.get("top_p", 1.0)) < 1


def generation(options: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """Easel's options as arguments of `generate`."""
    arguments: dict[str, Any] = {
        "max_new_tokens": limit,
        "min_new_tokens": min(int(options.get("min_new_tokens", 0)), limit),
        "num_beams": int(options.get("num_beams", 1)),
        "do_sample": is_sampling(options),
    }
    if is_sampling(options):
        arguments["temperature"] = float(options.get("temperature", 0.0)) or 1.0
        arguments["top_p"] = float(options.get("top_p", 1.0))
    return arguments


def warpers(options: Mapping[str, Any], top_k: int | None) -> tuple[Any, ...]:
    """What `generate` warps scores with, in its order. `top_k`: of the model's own generation config."""
    if not is_sampling(options):
        return ()
    asked = generation(options, 1)
    found: list[Any] = []
    if asked["temperature"] != 1.0:
        found.append(TemperatureLogitsWarper(asked["temperature"]))
    if top_k != 0:
        found.append(TopKLogitsWarper(top_k=top_k or TOP_K))
    if asked["top_p"] < 1.0:
        found.append(TopPLogitsWarper(top_p=asked["top_p"]))
    return tuple(found)
