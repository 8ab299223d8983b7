"""`blend`: one image made from several, which its model takes as references."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bot.commands.imagine import Imagine
from bot.commands.imagine_options import DRAWING
from bot.commands.references import can_refer
from bot.i18n import N_
from bot.jobs import ImageRef
from bot.models import TEXT_TO_IMAGE, ModelSpec

MIN_BLENDED, MAX_BLENDED = 2, 5
INSTRUCTION = "Blend these pictures into one picture."
"""The prompt of a model that takes the pictures itself, where none was given: it follows instructions."""
_LEFT_OUT = frozenset({"prompt", "strength", "best"})
_PROMPT = next(spec for spec in DRAWING if spec.name == "prompt")


@dataclass(frozen=True, kw_only=True)
class Blend(Imagine):
    name = "blend"
    summary = N_("Blend 2 to 5 pictures into one")
    smoke_tests = ()
    smoke_test_values: ClassVar[Mapping[str, Any]] = {}
    roles: ClassVar[tuple[str, ...]] = ("reference",)
    images_needed = MIN_BLENDED
    images_allowed = MAX_BLENDED
    further_images: ClassVar[Mapping[str, int]] = {}
    specs = (
        replace(_PROMPT, help=N_("What to make of the pictures"), is_required=False, default=""),
        *(spec for spec in DRAWING if spec.name not in _LEFT_OUT),
    )

    @classmethod
    def fits_model(cls, model: ModelSpec) -> bool:
        return can_refer(model, (ImageRef("", "reference"),), TEXT_TO_IMAGE)

    def fill_options(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        prompt = self.values.get("prompt") or (INSTRUCTION if self.is_native else "")
        command = replace(self, values={**self.values, "prompt": prompt})
        return super(Blend, command).fill_options(model, seed, aspect)
