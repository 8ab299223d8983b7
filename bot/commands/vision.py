"""Base of `caption`, `ask` and `describe`: input images and text-generation options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bot.commands.base import Answer, Command
from bot.commands.generation_options import GENERATION as GENERATION
from bot.commands.generation_options import fill_generation
from bot.models import VISUAL_QUESTION_ANSWERING, ModelSpec


@dataclass(frozen=True, kw_only=True)
class VisionCommand(Command):
    answers = Answer.TEXT
    smoke_test_values: ClassVar[Mapping[str, Any]] = {"min_new_tokens": 4}
    roles = ("init",)
    images_needed = 1
    images_allowed = 1
    is_per_image = True
    album_allowed = 10
    """The answer has a numbered line for each image of an album."""

    def fill_options(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        filled = {spec.name: self.values.get(spec.name, spec.default) for spec in self.specs}
        filled |= fill_generation(self.values, model, is_answer=self.task == VISUAL_QUESTION_ANSWERING)
        filled |= {"model": model.name, "seed": self.values.get("seed", seed)}
        return filled

    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        pictures = max(1, len(self.images))
        texts = max(int(options.get("num_beams") or 1), int(options.get("num_return_sequences") or 1))
        return pictures * int(options["max_new_tokens"]) * texts, 0.0, 1
