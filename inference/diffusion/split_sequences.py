"""Runs the parts of divided calls: each is a sequence of its own in the step loop, so it shares passes like any other.

Only some parts of an image are in flight at the same time. So an image of many parts makes no pass that is larger than
those of a few images, and the others wait for no more than a few of them.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from inference.diffusion.coroutines import SplitCall
from inference.diffusion.sequence import ImageSequence, PendingParts
from inference.diffusion.step_loop import StepLoop

PARTS_IN_FLIGHT = 8
"""Of one image."""


class SplitSequences:
    """Args:
    advance: runs a sequence to its next call.
    on_failure: ends the task of a sequence that failed.
    """

    def __init__(
        self,
        step_loop: StepLoop,
        advance: Callable[[ImageSequence], None],
        on_failure: Callable[[ImageSequence, Exception], None],
    ) -> None:
        self._step_loop = step_loop
        self._advance = advance
        self._on_failure = on_failure

    def start(self, whole: ImageSequence) -> None:
        """Start the parts of its pending call."""
        assert isinstance(whole.pending_call, SplitCall)
        self._step_loop.remove_sequence(whole)
        parts = whole.pending_call.parts
        width, height = whole.pending_call.part_size
        task = replace(whole.task, options={**whole.task.options, "width": width, "height": height})
        whole.parts = PendingParts(task, list(enumerate(parts)), [None] * len(parts))
        self._start_next(whole)

    def finish_part(self, part: ImageSequence) -> None:
        """Start the next part, or resume the whole with the outputs of all."""
        whole = part.whole
        if whole is None or whole.parts is None or part not in whole.parts.running:
            return  # its task has ended
        whole.parts_done += 1
        whole.parts.running.remove(part)
        whole.parts.outputs[part.part_number] = part.output
        if whole.parts.waiting:
            self._start_next(whole)
        elif not whole.parts.running:
            self._resume(whole)

    def close(self, whole: ImageSequence) -> None:
        """Drop its parts."""
        running = whole.parts.running if whole.parts is not None else []
        whole.parts = None
        for part in running:
            self._step_loop.remove_sequence(part)
            part.close()

    def _start_next(self, whole: ImageSequence) -> None:
        while whole.parts is not None and whole.parts.waiting and len(whole.parts.running) < PARTS_IN_FLIGHT:
            number, function = whole.parts.waiting.pop(0)
            part = _part_of(whole, whole.parts, number)
            whole.parts.running.append(part)
            if self._run(whole, partial(self._start_part, part, function)):
                self._advance(part)

    def _start_part(self, part: ImageSequence, function: Callable[[], Any]) -> None:
        part.start(lambda _: function(), self._step_loop.modules)
        self._step_loop.add_sequence(part)

    def _resume(self, whole: ImageSequence) -> None:
        assert whole.parts is not None
        outputs, whole.parts = whole.parts.outputs, None
        whole.pass_count += 1
        if self._run(whole, partial(whole.resume, outputs)):
            self._step_loop.add_sequence(whole)
            self._advance(whole)

    def _run(self, whole: ImageSequence, function: Callable[[], None]) -> bool:
        """Whether it succeeded; the time is charged to the task."""
        with self._step_loop.charge_time(whole.task.id):
            try:
                function()
            except Exception as error:  # only this image fails
                self._on_failure(whole, error)
                return False
        return True


def _part_of(whole: ImageSequence, parts: PendingParts, number: int) -> ImageSequence:
    """The sequence of a part. It counts as long as what is left of the image, so shorter work of others goes first."""
    return ImageSequence(
        task=parts.task,
        index=whole.index,
        seed=whole.seed,
        arrival=whole.arrival,
        previewer=whole.previewer,
        denoiser=whole.denoiser,
        loras=whole.loras,
        plugins=whole.plugins,
        steps=whole.steps_left * (len(parts.waiting) + 1),
        whole=whole,
        part_number=number,
    )
