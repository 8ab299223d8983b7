"""`ask`: answers a question about an image, or about several that its model sees together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from bot.commands.vision import GENERATION, VisionCommand
from bot.errors import InvalidOption
from bot.i18n import N_
from bot.jobs import ImageRef
from bot.models import IMAGE_TEXT_TO_TEXT, VISUAL_QUESTION_ANSWERING, ModelRegistry, ModelSpec
from bot.options import OptionSpec, parse_options

MAX_ASKED = 10
MAX_QUESTION = 8000
"""Characters, for models that chat: programs send whole texts to ask about."""
MAX_SHORT_QUESTION = 500
"""For models that do not: BLIP-2 was trained on questions of one line."""


@dataclass(frozen=True, kw_only=True)
class Ask(VisionCommand):
    """Attributes:
    is_album: its images may be an album from a chat: a model that sees one at a time answers with a line for each.
    is_together: its model answers once, about all of its images.
    """

    name = "ask"
    summary = N_("Ask a question about a picture")
    unavailable = N_("I can't answer questions about pictures here yet; the owner can add a model.")
    smoke_tests = (VISUAL_QUESTION_ANSWERING,)
    smoke_test_values: ClassVar[Mapping[str, Any]] = {**VisionCommand.smoke_test_values, "question": "What is this?"}
    images_allowed = MAX_ASKED
    specs = (
        OptionSpec(
            name="question",
            kind=str,
            help=N_("Your question"),
            maximum=MAX_QUESTION,
            is_required=True,
            is_main=True,
        ),
        *GENERATION,
    )
    is_album: bool = False
    is_together: bool = False

    @property
    def task(self) -> str:
        return VISUAL_QUESTION_ANSWERING

    @classmethod
    def from_options(
        cls, options: Mapping[str, Any], images: Sequence[ImageRef] = (), *, is_album: bool = False
    ) -> Self:
        return replace(super().from_options(options, images, is_album=is_album), is_album=is_album)

    @classmethod
    def from_text(cls, line: str, images: Sequence[ImageRef] = (), *, is_album: bool = False) -> Self:
        return replace(super().from_text(line, images, is_album=is_album), is_album=is_album)

    @classmethod
    def without_images(cls, options: Mapping[str, Any]) -> Self:
        """A question that a model that chats answers from its text alone. Raises: InvalidOption."""
        return cls(values=parse_options(cls.specs, options))

    @classmethod
    def count_allowed(cls, models: ModelRegistry) -> int:
        return max([1, *(images_per_question(model) for model in models.installed())])

    def choose_model(self, models: ModelRegistry) -> ModelSpec:
        """Raises: InvalidOption: also for a question that is too long for the model, or about more images than it sees
        together."""
        model, count = super().choose_model(models), len(self.images)
        length = len(self.values.get("question") or "")
        if length > MAX_SHORT_QUESTION and not chats(model):
            raise InvalidOption("question", "long", value=length, allowed=str(MAX_SHORT_QUESTION))
        if not count and not chats(model):
            raise InvalidOption("images", "needs_image")
        most = images_per_question(model)
        if count <= most or (most == 1 and self.is_album):
            return model
        if most > 1:
            raise InvalidOption("images", "too_many_images", value=count, allowed=str(most))
        able = next((one.name for one in models.installed() if self._fits(one)), "")
        raise InvalidOption("images", "one_at_a_time_but" if able else "one_at_a_time", value=model.name, nearest=able)

    def _fits(self, model: ModelSpec) -> bool:
        return self.task in model.tasks and images_per_question(model) >= len(self.images)

    def for_model(self, model: ModelSpec) -> Self:
        return replace(self, is_together=images_per_question(model) > 1)

    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        tokens, area, count = super().work_units(options)
        return tokens // max(1, len(self.images)) if self.is_together else tokens, area, count


def chats(model: ModelSpec) -> bool:
    """Whether it reads a conversation, several images, and texts without an image."""
    return {IMAGE_TEXT_TO_TEXT, VISUAL_QUESTION_ANSWERING} <= set(model.tasks)


def answering_model(models: ModelRegistry, earlier: str) -> ModelSpec | None:
    """The default for questions; where that does not chat, the model of the `earlier` answer, if it does."""
    default, before = models.default_for(VISUAL_QUESTION_ANSWERING), models.get(earlier)
    if before is None or not chats(before) or (default is not None and chats(default)):
        return default
    return before


def images_per_question(model: ModelSpec) -> int:
    """How many images one question to the model can be about: as its config says, if that is more than one."""
    if not chats(model):
        return 1
    return min(MAX_ASKED, model.max_images) if model.max_images > 1 else MAX_ASKED
