"""Base of `caption`, `ask` and `describe`: input images and text-generation options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bot.commands.base import Answer, Command
from bot.errors import InvalidOption
from bot.i18n import N_
from bot.models import ModelSpec
from bot.options import MAX_SEED, OptionSpec

GENERATION = (
    OptionSpec(
        name="num_beams", kind=int, help=N_("Beam-search width"), minimum=1, maximum=8, default=1, is_advanced=True
    ),
    OptionSpec(
        name="temperature",
        kind=float,
        help=N_("Sampling temperature; 0 is greedy"),
        minimum=0,
        maximum=2,
        default=0.0,
        is_advanced=True,
    ),
    OptionSpec(
        name="top_p",
        kind=float,
        help=N_("Nucleus sampling (top-p)"),
        minimum=0.01,
        maximum=1,
        default=1.0,
        is_advanced=True,
    ),
    OptionSpec(
        name="min_new_tokens",
        kind=int,
        help=N_("Minimum number of tokens"),
        minimum=0,
        maximum=256,
        default=0,
        is_advanced=True,
    ),
    OptionSpec(
        name="max_new_tokens",
        kind=int,
        help=N_("Maximum number of tokens (default: the model's)"),
        minimum=1,
        maximum=256,
        is_advanced=True,
    ),
    OptionSpec(name="seed", kind=int, help=N_("Random seed for sampling"), minimum=0, maximum=MAX_SEED),
    OptionSpec(name="model", kind=str, help=N_("Model (default: the first that supports this)"), maximum=60),
)


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
        filled["model"] = model.name
        if filled["max_new_tokens"] is None:
            filled["max_new_tokens"] = max(model.max_new_tokens, filled["min_new_tokens"])
        if filled["min_new_tokens"] > filled["max_new_tokens"]:
            raise InvalidOption(
                "min_new_tokens",
                "range",
                value=filled["min_new_tokens"],
                allowed=f"0 to {filled['max_new_tokens']}",
            )
        if filled["seed"] is None:
            filled["seed"] = seed
        return filled

    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        pictures = max(1, len(self.images))
        return pictures * int(options["max_new_tokens"]) * int(options["num_beams"]), 0.0, 1
