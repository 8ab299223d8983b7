"""One image in flight: a stock pipeline's coroutine, suspended between two denoiser passes."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy

from bot.models import TORCH
from bot.ports import Task
from inference.diffusion.batching import BatchedModule
from inference.diffusion.coroutines import ModuleCall, PipelineCoroutine, Returned
from inference.diffusion.lora import LoraSet
from inference.diffusion.previews import Previewer

ImageOutput = tuple[numpy.ndarray, bool]
"""The image, uint8 RGB, (height, width, 3), and whether the model's own safety filter blanked it."""


@dataclass(eq=False)
class PendingParts:
    """The parts of a divided call: those that have not started, with their numbers, and the outputs by number.

    `task`: the image's, in the size of a part.
    """

    task: Task
    waiting: list[tuple[int, Callable[[], Any]]]
    outputs: list[Any]
    running: "list[ImageSequence]" = field(default_factory=list)


@dataclass(eq=False, kw_only=True)
class ImageSequence:
    """Image `index` of a task.

    Attributes:
        arrival: increases with each image that starts.
        pending_call: the call that waits for its output; None before the start and after the end.
        step: the last of `steps`, as the pipeline counts them.
        passes_waited: passes made without it since its last one.
        latents: after the last step, in the pipeline's layout.
        denoiser: name of the component whose calls are its passes.
        loras: active during its denoiser passes.
        pass_count: its denoiser passes so far, and the next one.
        call_arguments: of its next pass, by name; `batch_key`, `rows` and `tokens` come from the `BatchingRule` of the
            module it calls. A sequence that is not batched has a unique key.
        backend: what makes its next pass, or made the last: "torch", or the backend of a compiled denoiser.
        parts: of the divided call that it waits for.
        parts_done: of all divided calls, which shows that a long step goes on.
        whole, part_number: of a part: the image, and which of its parts this is.
        plugins: the names of those that may change how it is computed.
        changed_by: those that have, each with a hook that did.
        is_compared: with the other images of its task while it is made; see `candidates.py`.
    """

    task: Task
    index: int
    seed: int
    arrival: int
    previewer: Previewer
    pending_call: ModuleCall | None = None
    step: int = 0
    steps: int = 0
    passes_waited: int = 0
    latents: Any = None
    output: ImageOutput | None = None
    denoiser: str = ""
    loras: LoraSet = ()
    pass_count: int = 0
    call_arguments: Mapping[str, Any] = field(default_factory=dict)
    batch_key: Hashable = None
    rows: int = 1
    tokens: int = 1
    backend: str = TORCH
    parts: PendingParts | None = None
    parts_done: int = 0
    whole: "ImageSequence | None" = None
    part_number: int = 0
    plugins: tuple[str, ...] = ()
    changed_by: dict[str, str] = field(default_factory=dict)
    is_compared: bool = False
    _coroutine: PipelineCoroutine | None = None
    _modules: Mapping[str, BatchedModule] = field(default_factory=dict)

    def start(self, function: Callable[["ImageSequence"], ImageOutput], modules: Mapping[str, BatchedModule]) -> None:
        """Run to the first intercepted call. `modules`: those called in shared passes, by name; may grow.

        Raises: what the pipeline raises.
        """
        self._modules, self.batch_key = modules, id(self)
        self._coroutine = PipelineCoroutine(lambda: function(self))
        self._on_outcome(self._coroutine.resume())

    def resume(self, output: Any) -> None:
        """Pass in the output of the pending call and run to the next one. Raises: what the pipeline raises."""
        assert self._coroutine is not None
        self._on_outcome(self._coroutine.resume(output))

    def throw(self, error: Exception) -> None:
        """Raise this error from the pending call. Raises: what the pipeline raises then."""
        assert self._coroutine is not None
        self._on_outcome(self._coroutine.throw(error))

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()
        self._coroutine = self.pending_call = None
        self.call_arguments = {}

    def record_step(self, step: int, steps: int, latents: Any) -> None:
        """The pipeline has completed a step."""
        self.step, self.steps, self.latents = step, steps, latents

    @property
    def is_finished(self) -> bool:
        return self._coroutine is None

    @property
    def is_new(self) -> bool:
        """Whether it has had no denoiser pass. The parts of an image are not new, since the image has."""
        return self.whole is None and self.step == 0 and self.pass_count <= 1

    @property
    def steps_left(self) -> int:
        return max(1, (self.steps or int(self.task.options.get("steps", 1))) - self.step)

    def _on_outcome(self, outcome: ModuleCall | Returned) -> None:
        if isinstance(outcome, Returned):
            self.output, self.pending_call, self._coroutine = outcome.value, None, None
            self.call_arguments = {}  # they may hold gigabytes of keys and values
            return
        if outcome.component == self.denoiser:
            self.pass_count += 1
        self.pending_call = outcome
        module = self._modules.get(outcome.component)
        if module is None or module.rule is None:
            self.batch_key = id(self)
            return
        rule = module.rule
        self.call_arguments = rule.bind_arguments(outcome)
        loras = self.loras if outcome.component == self.denoiser or module.uses_denoiser else ()
        self.backend = module.backend_for(outcome, self.call_arguments, loras)
        key = rule.batch_key(self.call_arguments)
        self.batch_key = (outcome.component, self.backend, outcome.is_tiled, loras, self.plugins, key)
        self.rows = rule.count_rows(self.call_arguments)
        self.tokens = rule.count_tokens(self.call_arguments)
