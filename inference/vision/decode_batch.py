"""The texts that are written together: all of them advance by one token at a time, newcomers join between tokens."""

from collections.abc import Sequence

import torch

from inference.vision.kv_cache import joined, narrowed
from inference.vision.language_model import Language, State
from inference.vision.sequence import Row, choose


class Batch:
    def __init__(self, language: Language) -> None:
        self._language = language
        self._state: State = ()
        self.rows: list[Row] = []

    def join(self, rows: Sequence[Row], prompts: Sequence[torch.Tensor]) -> list[Row]:
        """Read the prompts (tokens, width) together; each row has its first token then. Returns what is done."""
        state, scores = self._language.read(prompts)
        self._take(rows, scores)
        self._state = tuple(map(joined, self._state, state)) if self.rows else state
        self.rows += rows
        return self._without_done()

    def write(self) -> list[Row]:
        """One token for every row. Returns what is done, which is no longer here."""
        scores = self._language.write(self._state, [row.ids[-1] for row in self.rows])
        self._take(self.rows, scores)
        return self._without_done()

    def drop(self, owner: str) -> None:
        """Forget the rows of a task."""
        self._keep([row for row in self.rows if row.owner != owner])

    def clear(self) -> None:
        self.rows, self._state = [], ()

    def _take(self, rows: Sequence[Row], scores: torch.Tensor) -> None:
        for row, token in zip(rows, choose(rows, scores), strict=True):
            row.take(token)

    def _without_done(self) -> list[Row]:
        done = [row for row in self.rows if row.is_done]
        self._keep([row for row in self.rows if not row.is_done])
        return done

    def _keep(self, rows: list[Row]) -> None:
        if len(rows) == len(self.rows):
            return
        staying = set(map(id, rows))
        places = [number for number, row in enumerate(self.rows) if id(row) in staying]
        self._state = tuple(narrowed(past, places) for past in self._state) if places else ()
        self.rows = rows
