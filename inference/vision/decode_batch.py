"""The decoding batch: all its sequences advance by one token per pass, and new ones join between passes."""

from collections.abc import Sequence

import torch

from inference.vision.kv_cache import concat, keep_rows
from inference.vision.language_model import CacheState, LanguageModel
from inference.vision.sequence import TextSequence, next_tokens


class DecodeBatch:
    def __init__(self, language_model: LanguageModel) -> None:
        self._language_model = language_model
        self._caches: CacheState = ()
        self.sequences: list[TextSequence] = []

    def prefill(self, sequences: Sequence[TextSequence], prompts: Sequence[torch.Tensor]) -> list[TextSequence]:
        """Prefill the prompts, (tokens, width), in one pass and sample each first token. Returns finished sequences."""
        caches, logits = self._language_model.prefill(prompts)
        self._append_tokens(sequences, logits)
        self._caches = tuple(map(concat, self._caches, caches)) if self.sequences else caches
        self.sequences += sequences
        return self._pop_finished()

    def decode(self) -> list[TextSequence]:
        """One token for every sequence. Returns finished sequences, which have left the batch."""
        logits = self._language_model.decode(self._caches, [sequence.token_ids[-1] for sequence in self.sequences])
        self._append_tokens(self.sequences, logits)
        return self._pop_finished()

    def remove_task(self, task_id: str) -> None:
        self._retain([sequence for sequence in self.sequences if sequence.task_id != task_id])

    def clear(self) -> None:
        self.sequences, self._caches = [], ()

    def _append_tokens(self, sequences: Sequence[TextSequence], logits: torch.Tensor) -> None:
        for sequence, token in zip(sequences, next_tokens(sequences, logits), strict=True):
            sequence.append_token(token)

    def _pop_finished(self) -> list[TextSequence]:
        finished = [sequence for sequence in self.sequences if sequence.is_finished]
        self._retain([sequence for sequence in self.sequences if not sequence.is_finished])
        return finished

    def _retain(self, sequences: list[TextSequence]) -> None:
        if len(sequences) == len(self.sequences):
            return
        retained = set(map(id, sequences))
        rows = [row for row, sequence in enumerate(self.sequences) if id(sequence) in retained]
        self._caches = tuple(keep_rows(cache, rows) for cache in self._caches) if rows else ()
        self.sequences = sequences
