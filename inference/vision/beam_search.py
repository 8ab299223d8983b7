"""Texts that need Transformers' `generate`: beam searches, and language models that the batch does not support.

They run one after another, each suspended at every token, so the batch decodes in between.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from inference.vision.callback_stepper import CallbackStepper, Pause, Paused


@dataclass(kw_only=True, eq=False)
class BeamSearch:
    """Attributes:
    index: of the text in its request's round.
    inputs: of `generate`, for one row: the prompt.
    repeated: how many tokens `generate` puts before its output: the prompt, or the decoder's start.
    arguments: of `generate`.
    token_ids: so far, unless several beams compete.
    stop_token_ids: after them there is only padding.
    outputs: token ids of each text, once it is finished.
    """

    task_id: str
    index: int
    inputs: Mapping[str, Any]
    repeated: int
    arguments: Mapping[str, Any]
    seed: int
    stop_token_ids: frozenset[int] = frozenset()
    token_count: int = 0
    token_ids: list[int] = field(default_factory=list)
    outputs: list[list[int]] = field(default_factory=list)

    def find_end(self, output: Sequence[int]) -> int | None:
        """The number of its tokens, with the one that ends it; None: it does not end."""
        return next((place for place, token in enumerate(output, 1) if token in self.stop_token_ids), None)


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
        outcome = self._stepper.advance()
        if isinstance(outcome, Paused):
            self.current.token_count += 1
            self.current.token_ids = outcome.value
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
        generated = self._model.generate(
            **search.inputs,
            **search.arguments,
            stopping_criteria=StoppingCriteriaList([_PauseAtEachToken(pause, search.repeated)]),
        )
        search.outputs = [token_ids[search.repeated :] for token_ids in generated.tolist()]


class _PauseAtEachToken(StoppingCriteria):
    """Suspends `generate` after each token; stopping it there raises out of `generate`."""

    def __init__(self, pause: Pause, repeated: int) -> None:
        self._pause = pause
        self._repeated = repeated

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._pause(input_ids[0, self._repeated :].tolist() if len(input_ids) == 1 else [])
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
