"""A task in the diffusion engine: its images that are in flight, and what of its progress was reported."""

from dataclasses import dataclass, field
from typing import Any

from bot.commands.best_of import expected_steps
from bot.ports import Task
from inference.diffusion.sequence import ImageSequence
from inference.engine.base import StepDone
from inference.ipc.messages import RawImage


@dataclass
class ImageTask:
    """Attributes:
    sequences: the task's images that are not finished.
    finished_images, finished_steps: how many are finished, and their steps.
    dropped_steps: of images that were dropped.
    reported_step, reported_parts: the last step that an event reported, and the parts of steps done then.
    """

    task: Task
    has_previews: bool
    sequences: list[ImageSequence] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    finished_images: int = 0
    finished_steps: int = 0
    dropped_steps: int = 0
    reported_step: int = 0
    reported_parts: int = 0

    def finish(self, sequence: ImageSequence) -> None:
        """One of its images is done."""
        self.sequences.remove(sequence)
        self.finished_images += 1
        self.finished_steps += sequence.steps

    def start_again(self, failed: ImageSequence, sequence: ImageSequence) -> None:
        """One of its images is made once more, from its first step."""
        self.sequences[self.sequences.index(failed)] = sequence
        self.reported_step = self.reported_parts = 0

    def drop(self, sequence: ImageSequence) -> None:
        """One of its images does not go on."""
        self.sequences.remove(sequence)
        self.dropped_steps += sequence.step

    def take_report(self) -> StepDone | None:
        """Its progress, if it has advanced since the last report."""
        steps_each = max((sequence.steps for sequence in self.sequences), default=0)
        step = self.finished_steps + self.dropped_steps + sum(sequence.step for sequence in self.sequences)
        parts = sum(sequence.parts_done for sequence in self.sequences)
        if not steps_each or (step, parts) <= (self.reported_step, self.reported_parts):
            return None
        self.reported_step, self.reported_parts = step, parts
        steps = max(step, expected_steps(self.task.options, steps_each))
        return StepDone(task_id=self.task.id, step=step, steps=steps, preview=self._make_preview())

    def _make_preview(self) -> bytes | None:
        """Of the first unfinished image."""
        first = self.sequences[0]
        return first.previewer.make_preview(first.latents) if self.has_previews else None


def to_raw_image(sequence: ImageSequence, pixels: Any, was_blanked: bool, sampler: str, revision: str) -> RawImage:
    """A finished image. `pixels`: RGB, (height, width, 3), uint8; `was_blanked`: by its model's own safety filter;
    `sampler`: the model's own."""
    return RawImage(
        index=sequence.index,
        width=pixels.shape[1],
        height=pixels.shape[0],
        pixels=pixels.tobytes(),
        seed=sequence.seed,
        sampler=str(sequence.task.options.get("sampler") or sampler),
        revision=revision,
        nsfw=1.0 if was_blanked else None,
    )
