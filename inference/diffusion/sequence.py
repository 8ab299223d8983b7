"""One picture being made: a stock pipeline's run, held between two passes of its denoiser."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy

from bot.ports import Task
from inference.diffusion.batching import Merge
from inference.diffusion.coroutines import Call, Returned, Run
from inference.diffusion.lora import LoraSet
from inference.diffusion.previews import Previewer

Made = tuple[numpy.ndarray, bool]
"""The picture, uint8 RGB, (height, width, 3), and whether the model's own filter blanked it."""


@dataclass(eq=False, kw_only=True)
class Picture:
    """Picture `index` of a task.

    Attributes:
        order: rises with each picture that is begun.
        call: what it waits for; None before its start and after its end.
        step: of `steps` made, as the pipeline itself counts them.
        waited: passes made without it since its last.
        latents: those after the last step, as the pipeline has them.
        denoiser: the name of the component whose calls are its passes.
        loras: those that the denoiser computes with.
        arguments: of its next pass, by name; `key`, `rows` and `tokens` are what its `Merge` says of them. A picture
        whose
            passes are not merged has a key of its own.
    """

    task: Task
    index: int
    seed: int
    order: int
    previewer: Previewer
    call: Call | None = None
    step: int = 0
    steps: int = 0
    waited: int = 0
    latents: Any = None
    made: Made | None = None
    denoiser: str = ""
    loras: LoraSet = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    key: Hashable = None
    rows: int = 1
    tokens: int = 1
    _run: Run | None = None
    _merge: Merge | None = None

    def begin(self, function: Callable[["Picture"], Made], merge: Merge | None) -> None:
        """Up to the first call that is held. Raises: what the pipeline raises."""
        self._merge, self.key = merge, id(self)
        self._run = Run(lambda: function(self))
        self._heard(self._run.resume())

    def resume(self, answer: Any) -> None:
        """Give the answer to its call and go on to the next. Raises: what the pipeline raises."""
        assert self._run is not None
        self._heard(self._run.resume(answer))

    def fail(self, error: Exception) -> None:
        """Let its call raise. Raises: what the pipeline makes of it."""
        assert self._run is not None
        self._heard(self._run.fail(error))

    def stop(self) -> None:
        if self._run is not None:
            self._run.stop()
        self._run = self.call = None

    def note(self, step: int, steps: int, latents: Any) -> None:
        """The pipeline made a step."""
        self.step, self.steps, self.latents = step, steps, latents

    @property
    def steps_left(self) -> int:
        return max(1, (self.steps or int(self.task.options.get("steps", 1))) - self.step)

    def _heard(self, outcome: Call | Returned) -> None:
        if isinstance(outcome, Returned):
            self.made, self.call, self._run = outcome.value, None, None
            return
        self.call = outcome
        if self._merge is not None and outcome.component == self.denoiser:
            self.arguments = self._merge.arguments(outcome)
            self.key = (self.loras, self._merge.key(self.arguments))
            self.rows, self.tokens = self._merge.rows(self.arguments), self._merge.tokens(self.arguments)
