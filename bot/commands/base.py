"""The base class of all commands. A new command is one file in this folder and its line in `COMMANDS`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Self

from bot.commands.input_images import ImageLimits, check_images
from bot.errors import InvalidOption, NoModel
from bot.i18n import N_
from bot.jobs import ImageRef, StoredImage
from bot.models import ModelRegistry, ModelSpec
from bot.options import OptionSpec, find_nearest, parse_options, parse_text


class Answer(StrEnum):
    """What a command answers with."""

    IMAGES = "images"
    TEXT = "text"
    LINES = "lines"
    """A text whose lines are choices, each a prompt of its own."""


@dataclass(frozen=True, kw_only=True)
class Command(ABC):
    """One request: validated, defaults not yet filled in.

    Attributes:
        values: the given options, by their REST names; the model supplies defaults for the others.
        images: the input images.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """What it does: menus, `/help` and `--help` show it."""
    answers: ClassVar[Answer]
    unavailable: ClassVar[str] = N_("No installed model can do that yet; the owner can add one.")
    """What people read where no model can do it."""
    specs: ClassVar[tuple[OptionSpec, ...]]
    smoke_tests: ClassVar[tuple[str, ...]] = ()
    """Tasks that a new model is tried with by this command."""
    smoke_test_values: ClassVar[Mapping[str, Any]] = {}
    roles: ClassVar[tuple[str, ...]] = ()
    """Roles that its images may have; the first is the role of an image that names none."""
    images_needed: ClassVar[int] = 0
    images_allowed: ClassVar[int] = 0
    further_images: ClassVar[Mapping[str, int]] = {}
    """Roles of images that do not count as `images_allowed`, with the number allowed of each: masks, controls."""
    is_per_image: ClassVar[bool] = False
    """Several images are as many requests: on the command line, it takes several files and folders."""
    keeps_author: ClassVar[bool] = False
    """Its pictures show the input image in another form, or with more around it: they remain the picture of the person
    who posted that, and are as adult as it is."""
    album_allowed: ClassVar[int] = 0
    """The limit for an album from a chat, where it is higher than `images_allowed`."""

    values: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[ImageRef, ...] = ()

    @property
    @abstractmethod
    def task(self) -> str:
        """The Hub's tag of the task that a model must support."""

    @property
    def search_text(self) -> str:
        """What history search finds it by."""
        main = next(spec.name for spec in self.specs if spec.is_main)
        return str(self.values.get(main, ""))

    @classmethod
    def from_options(
        cls, options: Mapping[str, Any], images: Sequence[ImageRef] = (), *, is_album: bool = False
    ) -> Self:
        """From named values: a REST body, slash options. Raises: InvalidOption."""
        return cls(values=parse_options(cls.specs, options), images=cls._check_images(images, is_album))

    @classmethod
    def from_text(cls, line: str, images: Sequence[ImageRef] = (), *, is_album: bool = False) -> Self:
        """From a typed line with `--flags`. Raises: InvalidOption."""
        return cls(values=parse_text(cls.specs, line), images=cls._check_images(images, is_album))

    @classmethod
    def _check_images(cls, images: Sequence[ImageRef], is_album: bool) -> tuple[ImageRef, ...]:
        most = max(cls.images_allowed, cls.album_allowed if is_album else 0)
        limits = ImageLimits(roles=cls.roles, needed=cls.images_needed, allowed=most, further=cls.further_images)
        return check_images(images, limits)

    @classmethod
    def count_allowed(cls, models: ModelRegistry) -> int:
        """How many images it takes here."""
        return cls.images_allowed

    @classmethod
    def fits_model(cls, model: ModelSpec) -> bool:
        """Whether the model has what the command needs beside its task."""
        return True

    def images_of(self, role: str) -> tuple[ImageRef, ...]:
        return tuple(image for image in self.images if image.role == role)

    def choose_aspect(self, pictures: Sequence[StoredImage]) -> float | None:
        """Width / height of the image that gives the result its shape: the first input image, else the first control.

        `pictures`: the measured images, in their order. None: there is no such image.
        """
        by_role = {image.role: one for image, one in reversed(list(zip(self.images, pictures, strict=True)))}
        shaping = by_role.get("init") or by_role.get("control")
        return shaping.width / shaping.height if shaping else None

    def with_images(self, pictures: Sequence[StoredImage]) -> Self:
        """The command with its images measured: what it can do may depend on their size."""
        return self

    def choose_model(self, models: ModelRegistry) -> ModelSpec:
        """The model asked for, or the task's default. Raises: InvalidOption."""
        wanted = self.values.get("model")
        able = models.names_for(self.task)
        spec = models.get(wanted) if wanted else models.default_for(self.task)
        if not able:
            raise NoModel(self.name, self.unavailable)
        if spec is None and not wanted:
            raise self._only_on_request(models, able)
        if spec is None or self.task not in spec.tasks:
            near = find_nearest(str(wanted), able)
            allowed = ", ".join(able)
            raise InvalidOption("model", "choice", value=wanted, allowed=allowed, nearest=near[0] if near else "")
        return spec

    def _only_on_request(self, models: ModelRegistry, able: Sequence[str]) -> InvalidOption:
        """Demos, or models that are being installed, could do it, but none of them is a default."""
        real = models.real_model_of_kind(self.task)
        addable = next((preset.name for preset in models.presets if self.task in preset.tasks), "")
        problem = "default_lacks" if addable else "default_lacks_all"
        value = real.name if real is not None else able[0]
        return InvalidOption("model", problem, value=value, allowed=", ".join(able), nearest=addable)

    def for_model(self, model: ModelSpec) -> Self:
        """The command as this model does it: its task may depend on the model."""
        return self

    @abstractmethod
    def fill_options(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        """Every option with its value for this model.

        Args:
            seed: used when none was given.
            aspect: width / height of the image that gives the result its shape; see `choose_aspect`.

        Raises: InvalidOption: the model does not support a value.
        """

    @abstractmethod
    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        """For prices: (steps or tokens, pixels of an image, number of results)."""
