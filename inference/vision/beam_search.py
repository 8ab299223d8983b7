"""Texts that only `generate` can write: searches with beams, and models that no batch knows. One after another, each
held at every token, so that the batch goes on between."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from inference.vision.callback_stepper import Bridge, Pause, Paused


@dataclass(kw_only=True, eq=False)
class Search:
    """Attributes:
    owner, place: the task it is for, and which of the task's texts.
    embeds: the prompt, (tokens, width of the model).
    ids: its tokens, which a decoder-only model repeats before what it writes.
    arguments: of `generate`.
    written: ids of each text, once it is done.
    """

    owner: str
    place: int
    embeds: torch.Tensor
    ids: list[int]
    arguments: Mapping[str, Any]
    seed: int
    made: int = 0
    written: list[list[int]] = field(default_factory=list)


class Searches:
    def __init__(self, model: Any) -> None:
        self._model = model
        self._bridge = Bridge()
        self.current: Search | None = None

    def begin(self, search: Search) -> None:
        """There is none at this time."""
        self.current = search
        self._bridge.start(lambda pause: self._write(search, pause))

    def advance(self) -> Search | None:
        """By one token. Returns the search when it is done."""
        assert self.current is not None
        if isinstance(self._bridge.advance(), Paused):
            self.current.made += 1
            return None
        done, self.current = self.current, None
        return done

    def drop(self, owner: str) -> None:
        if self.current is not None and self.current.owner == owner:
            self.clear()

    def clear(self) -> None:
        self.current = None
        self._bridge.stop()

    def close(self) -> None:
        self.current = None
        self._bridge.close()

    @torch.inference_mode()
    def _write(self, search: Search, pause: Pause) -> None:
        torch.manual_seed(search.seed)
        embeds = search.embeds[None]
        is_apart = self._model.config.is_encoder_decoder
        repeated = {} if is_apart else {"input_ids": torch.tensor([search.ids], device=embeds.device)}
        made = self._model.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
            **repeated,
            **search.arguments,
            stopping_criteria=StoppingCriteriaList([_EachToken(pause)]),
        )
        before = 0 if is_apart else len(search.ids)
        search.written = [ids[before:] for ids in made.tolist()]


class _EachToken(StoppingCriteria):
    """Hands over control after each token; being stopped there raises out of `generate`."""

    def __init__(self, pause: Pause) -> None:
        self._pause = pause

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._pause(None)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
