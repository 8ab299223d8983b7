"""A task of the vision engine in flight: which of its texts are pending, and the progress of the others."""

from collections import deque
from collections.abc import Sequence

from bot.jobs import TextUsage
from bot.ports import Task
from inference.vision.generation_plan import TextSpec, expected_text_count, plan_for, text_so_far
from inference.vision.query_encoder import QueryInput


class VisionRequest:
    """Runs the task's generation plan, round by round.

    Attributes:
        prompt_ids: token ids of the prompt, without image tokens.
        adapter: the key of the one that answers.
        max_tokens: of one text.
        pending: texts of this round that have not started, with their indices in the round.
        lines: the answer, once it is complete.
    """

    def __init__(
        self, task: Task, prompt_ids: list[int], images: Sequence[QueryInput], max_tokens: int, adapter: str
    ) -> None:
        self.task = task
        self.adapter = adapter
        self.prompt_ids = prompt_ids
        self.images = images
        self.max_tokens = max_tokens
        self.pending: deque[tuple[int, TextSpec]] = deque()
        self.lines: list[str] | None = None
        self.steps = expected_text_count(task) * max_tokens
        self._reported = 0
        self._earlier_tokens = 0
        self._tokens: dict[int, int] = {}
        self._texts: dict[int, Sequence[str]] = {}
        self._earlier_texts: list[str] = []
        self._partial_texts: dict[int, str] = {}
        self._written_tokens = 0
        self._is_cut = False
        self._round_size = 0
        self._plan = plan_for(task)
        self._start_round(next(self._plan))

    @property
    def step(self) -> int:
        """Tokens generated, of `steps`: a text that ends early counts in full, attempts beyond `steps` do not count."""
        tokens = self._earlier_tokens + sum(self._tokens.values())
        self._reported = max(self._reported, min(tokens, self.steps))
        return self._reported

    @property
    def text(self) -> str:
        """The answer so far, or the complete one."""
        if self.lines is not None:
            return "\n".join(self.lines)
        current = [self._partial_texts.get(index, "") for index in range(self._round_size)]
        return text_so_far(self.task, [*self._earlier_texts, *current])

    def on_tokens(self, index: int, count: int, text: str = "") -> None:
        """`text`: what these tokens say."""
        self._tokens[index] = min(count, self.max_tokens)
        self._partial_texts[index] = text.rstrip("\ufffd")  # a character whose last bytes are still to come

    def on_text(self, index: int, texts: Sequence[str]) -> None:
        """A text is complete, or the texts of a beam search; after the last of a round, the next round starts."""
        self._tokens[index] = self.max_tokens
        self._texts[index] = texts
        self._partial_texts[index] = texts[0] if texts else ""
        if len(self._texts) == self._round_size:
            self._finish_round()

    def count_tokens(self, count: int, *, is_cut: bool) -> None:
        """Of a text that is complete. `is_cut`: only because it may be no longer."""
        self._written_tokens += count
        self._is_cut = self._is_cut or is_cut

    def usage_with(self, read: int) -> TextUsage:
        """`read`: tokens of its prompts, with the images."""
        return TextUsage(read=read, written=self._written_tokens, is_cut=self._is_cut)

    def _finish_round(self) -> None:
        self._earlier_tokens += sum(self._tokens.values())
        generated = [self._texts[index] for index in range(self._round_size)]
        self._earlier_texts += [text for texts in generated for text in texts]
        self._tokens, self._texts, self._partial_texts = {}, {}, {}
        try:
            self._start_round(self._plan.send(generated))
        except StopIteration as end:
            self.lines = end.value

    def _start_round(self, specs: Sequence[TextSpec]) -> None:
        self._round_size = len(specs)
        self.pending.extend(enumerate(specs))
