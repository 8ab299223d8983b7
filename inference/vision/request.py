"""A task of the vision engine on its way: which of its texts wait, how far the others are."""

from collections import deque
from collections.abc import Sequence

from bot.ports import Task
from inference.vision.generation_plan import Wish, tale_of, texts_of
from inference.vision.image_encoder import Look


class Teller:
    """Runs the task's tale, round by round.

    Attributes:
        words: ids of the prompt without the picture.
        looks: the task's pictures.
        limit: tokens of one text.
        waiting: texts of this round that nobody writes yet, with their places in the round.
        lines: the answer, once it is complete.
    """

    def __init__(self, task: Task, words: list[int], looks: Sequence[Look], limit: int) -> None:
        self.task = task
        self.words = words
        self.looks = looks
        self.limit = limit
        self.waiting: deque[tuple[int, Wish]] = deque()
        self.lines: list[str] | None = None
        self.steps = texts_of(task) * limit
        self._told = 0
        self._before = 0
        self._made: dict[int, int] = {}
        self._written: dict[int, Sequence[str]] = {}
        self._wishes = 0
        self._tale = tale_of(task)
        self._wish(next(self._tale))

    @property
    def step(self) -> int:
        """Tokens written, of `steps`: a text that ends early counts in full, tries that led nowhere not at all."""
        made = self._before + sum(self._made.values())
        self._told = max(self._told, min(made, self.steps))
        return self._told

    def advances(self, place: int, made: int) -> None:
        self._made[place] = min(made, self.limit)

    def hears(self, place: int, texts: Sequence[str]) -> None:
        """A text, or the texts of a search, is complete; with the last of a round, the next round begins."""
        self._made[place] = self.limit
        self._written[place] = texts
        if len(self._written) == self._wishes:
            self._next_round()

    def _next_round(self) -> None:
        self._before += sum(self._made.values())
        written = [self._written[place] for place in range(self._wishes)]
        self._made, self._written = {}, {}
        try:
            self._wish(self._tale.send(written))
        except StopIteration as end:
            self.lines = end.value

    def _wish(self, wishes: Sequence[Wish]) -> None:
        self._wishes = len(wishes)
        self.waiting.extend(enumerate(wishes))
