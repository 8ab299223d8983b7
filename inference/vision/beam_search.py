"""Texts that need Transformers' `generate`: beam searches, and language models that the batch does not support.

They run one after another, each suspended at every token, so the batch decodes in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from inference.vision.callback_stepper import CallbackStepper, Pause, Paused


@dataclass(kw_only=True, eq=False)
class BeamSearch:
    """Attributes:
    index: of the text in its request's round.
    embeds: the prompt, (tokens, width of the model).
    prompt_ids: its tokens, which a decoder-only model repeats before its output.
    arguments: of `generate`.
    outputs: token ids of each text, once it is finished.
    """

    task_id: str
    index: int
    embeds: torch.Tensor
    prompt_ids: list[int]
    arguments: Mapping[str, Any]
    seed: int
    token_count: int = 0
    outputs: list[list[int]] = field(default_factory=list)


class BeamSearches:
    def __init__(self, model: Any) -> None:
        self._model = model
        self._stepper = CallbackStepper()
        self.current: BeamSearch | None = None

    def start(self, search: BeamSearch) -> None:
        """Only while no other search is running."""
        self.current = search
        self._stepper.start(lambda pause: self._generate(search, pause))

    def advance(self) -> BeamSearch | None:
        """Generate one token. Returns the search once it is finished."""
        assert self.current is not None
        if isinstance(self._stepper.advance(), Paused):
            self.current.token_count += 1
            return None
        finished, self.current = self.current, None
        return finished

    def cancel_task(self, task_id: str) -> None:
        if self.current is not None and self.current.task_id == task_id:
            self.clear()

    def clear(self) -> None:
        self.current = None
        self._stepper.stop()

    def close(self) -> None:
        self.current = None
        self._stepper.close()

    @torch.inference_mode()
    def _generate(self, search: BeamSearch, pause: Pause) -> None:
        torch.manual_seed(search.seed)
        embeds = search.embeds[None]
        is_encoder_decoder = self._model.config.is_encoder_decoder
        repeated = {} if is_encoder_decoder else {"input_ids": torch.tensor([search.prompt_ids], device=embeds.device)}
        generated = self._model.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
            **repeated,
            **search.arguments,
            stopping_criteria=StoppingCriteriaList([_PauseAtEachToken(pause)]),
        )
        start = 0 if is_encoder_decoder else len(search.prompt_ids)
        search.outputs = [token_ids[start:] for token_ids in generated.tolist()]


class _PauseAtEachToken(StoppingCriteria):
    """Suspends `generate` after each token; stopping it there raises out of `generate`."""

    def __init__(self, pause: Pause) -> None:
        self._pause = pause

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._pause(None)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
