"""One text in flight: its limits, the choice of its next token, and when it ends."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

GENERATION_OPTIONS = (
    *("num_beams", "num_return_sequences", "length_penalty", "repetition_penalty", "temperature", "top_k", "top_p"),
    *("min_new_tokens", "max_new_tokens", "seed"),
)
"""Options of requests that say how a text is generated."""
DEFAULT_TOP_K = 50
"""Transformers' default, for models without a setting of their own."""
MIN_TEMPERATURE = 0.01
"""Nearly greedy; divided by far less, logits are infinite, and nothing can be sampled."""
_MAX_LOGIT = torch.finfo(torch.float32).max


@dataclass(kw_only=True, eq=False)
class TextSequence:
    """A text in the decoding batch.

    Attributes:
        index: of the text in its request's round.
        max_tokens, min_tokens: without the prompt's.
        repetition_penalty: of tokens that are in `prompt_ids` or in the text so far; 1: none.
        prompt_ids: what Transformers counts as the beginning of the text.
        generator: for sampling; None: greedy.
        logits_warpers: applied to the logits before sampling.
        should_stop: whether the tokens so far are a complete text, besides `stop_token_ids`.
        is_cut: it is finished only because it may be no longer.
    """

    task_id: str
    index: int = 0
    max_tokens: int
    min_tokens: int = 0
    stop_token_ids: frozenset[int] = frozenset()
    repetition_penalty: float = 1.0
    prompt_ids: Sequence[int] = ()
    generator: torch.Generator | None = None
    logits_warpers: tuple[Any, ...] = ()
    should_stop: Callable[[Sequence[int]], bool] = lambda _ids: False
    token_ids: list[int] = field(default_factory=list)
    is_finished: bool = False
    is_cut: bool = False

    @property
    def is_below_min(self) -> bool:
        return len(self.token_ids) < self.min_tokens

    def append_token(self, token: int) -> None:
        self.token_ids.append(token)
        is_complete = token in self.stop_token_ids or self.should_stop(self.token_ids)
        self.is_finished = is_complete or len(self.token_ids) >= self.max_tokens
        self.is_cut = self.is_finished and not is_complete

    def penalize_repetition(self, logits: torch.Tensor) -> torch.Tensor:
        """Of logits (1, vocabulary)."""
        token_ids = torch.tensor([[*self.prompt_ids, *self.token_ids]], dtype=torch.long, device=logits.device)
        penalized: torch.Tensor = RepetitionPenaltyLogitsProcessor(self.repetition_penalty)(token_ids, logits)
        return penalized

    def sample(self, logits: torch.Tensor) -> int:
        """From logits (1, vocabulary), like `generate` with the same generator on a CPU."""
        for warp in self.logits_warpers:
            logits = warp(None, logits).clamp(max=_MAX_LOGIT)  # several infinite ones have no softmax
        probabilities = logits.softmax(dim=-1).cpu()
        return int(torch.multinomial(probabilities, num_samples=1, generator=self.generator))


def next_tokens(sequences: Sequence[TextSequence], logits: torch.Tensor) -> list[int]:
    """The next token of each sequence; `logits`: (rows, vocabulary). What overflowed in one row harms no other."""
    logits = torch.nan_to_num(logits.float(), nan=0.0)
    for row, sequence in enumerate(sequences):
        if sequence.repetition_penalty != 1:
            logits[row : row + 1] = sequence.penalize_repetition(logits[row : row + 1])
        if sequence.is_below_min and sequence.stop_token_ids:
            logits[row, list(sequence.stop_token_ids)] = -torch.inf
    greedy: list[int] = logits.argmax(dim=-1).tolist()
    return [
        greedy[row] if sequence.generator is None else sequence.sample(logits[row : row + 1])
        for row, sequence in enumerate(sequences)
    ]


def is_sampling(options: Mapping[str, Any]) -> bool:
    """Above a temperature of 0, and with `top_p` below 1."""
    return float(options.get("temperature") or 0.0) > 0 or float(options.get("top_p") or 1.0) < 1


def generation_arguments(options: Mapping[str, Any], max_tokens: int) -> dict[str, Any]:
    """Easel's options as arguments of `generate`."""
    arguments: dict[str, Any] = {
        "max_new_tokens": max_tokens,
        "min_new_tokens": min(int(options.get("min_new_tokens", 0)), max_tokens),
        "num_beams": int(options.get("num_beams", 1)),
        "do_sample": is_sampling(options),
        "repetition_penalty": repetition_penalty(options),
    }
    if arguments["num_beams"] > 1:
        arguments["length_penalty"] = float(_given(options, "length_penalty", 1.0))
    if is_sampling(options):
        temperature = float(options.get("temperature") or 0.0)
        arguments["temperature"] = max(temperature, MIN_TEMPERATURE) if temperature else 1.0
        arguments["top_p"] = float(options.get("top_p", 1.0))
        if (top_k := _given(options, "top_k", None)) is not None:
            arguments["top_k"] = int(top_k)
    return arguments


def repetition_penalty(options: Mapping[str, Any]) -> float:
    return float(_given(options, "repetition_penalty", 1.0))


def _given(options: Mapping[str, Any], name: str, default: Any) -> Any:
    value = options.get(name)
    return default if value is None else value


def logits_warpers_for(options: Mapping[str, Any], top_k: int | None) -> tuple[Any, ...]:
    """The warpers of `generate`, in its order. `top_k`: of the model's own generation config, unless it is an
    option."""
    if not is_sampling(options):
        return ()
    top_k = _given(options, "top_k", top_k)
    arguments = generation_arguments(options, 1)
    warpers: list[Any] = []
    if arguments["temperature"] != 1.0:
        warpers.append(TemperatureLogitsWarper(arguments["temperature"]))
    if top_k != 0:
        warpers.append(TopKLogitsWarper(top_k=top_k or DEFAULT_TOP_K))
    if arguments["top_p"] < 1.0:
        warpers.append(TopPLogitsWarper(top_p=arguments["top_p"]))
    return tuple(warpers)
