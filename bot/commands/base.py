"""What every command is made of. A new kind of command is one file beside this one."""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from bot.errors import InvalidOption
from bot.jobs import ImageRef, Picture
from bot.models import Models, ModelSpec
from bot.options import OptionSpec, read_options, read_text


@dataclass(frozen=True, kw_only=True)
class Command(ABC):
    """One request, checked but not yet filled in.

    Attributes:
        values: the options given, by INTERFACES' names; what is not given comes from the model.
        images: the pictures it is about.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    specs: ClassVar[tuple[OptionSpec, ...]]
    roles: ClassVar[tuple[str, ...]] = ()
    """Roles that its pictures may have; the first is what a picture without a role is."""
    images_needed: ClassVar[int] = 0
    images_allowed: ClassVar[int] = 0
    has_mask: ClassVar[bool] = False
    """One more may come, with the role "mask": what is white there is made anew."""
    album_allowed: ClassVar[int] = 0
    """More than `images_allowed`: as many may come at once from a chat."""

    values: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[ImageRef, ...] = ()

    @property
    @abstractmethod
    def task(self) -> str:
        """The Hub's tag of what a model must be able to do."""

    @property
    def needle(self) -> str:
        """What history search finds it by."""
        main = next(spec.name for spec in self.specs if spec.is_main)
        return str(self.values.get(main, ""))

    @classmethod
    def read(cls, options: Mapping[str, Any], images: Sequence[ImageRef] = (), *, is_album: bool = False) -> Self:
        """From named values: a REST body, slash options. Raises: InvalidOption."""
        return cls(values=read_options(cls.specs, options), images=cls._check_images(images, is_album))

    @classmethod
    def read_line(cls, line: str, images: Sequence[ImageRef] = (), *, is_album: bool = False) -> Self:
        """From a typed line with `--flags`. Raises: InvalidOption."""
        return cls(values=read_text(cls.specs, line), images=cls._check_images(images, is_album))

    @classmethod
    def _check_images(cls, images: Sequence[ImageRef], is_album: bool) -> tuple[ImageRef, ...]:
        most = max(cls.images_allowed, cls.album_allowed if is_album else 0)
        masks = sum(image.role == "mask" for image in images) if cls.has_mask else 0
        pictures = len(images) - masks
        if pictures < cls.images_needed:
            raise InvalidOption("images", "needs_image")
        if pictures > most:
            raise InvalidOption("images", "too_many_images" if most else "no_images", value=pictures, allowed=str(most))
        if masks > 1:
            raise InvalidOption("images", "too_many_images", value=masks, allowed="1")
        if masks and not pictures:
            raise InvalidOption("mask", "needs_init")
        for image in images:
            if image.role not in cls.roles:
                raise InvalidOption("role", "choice", value=image.role, allowed=", ".join(cls.roles))
        return tuple(images)

    def seeing(self, pictures: Sequence[Picture]) -> Self:
        """The command once its pictures were looked at: what it can do may depend on their size."""
        return self

    def choose_model(self, models: Models) -> ModelSpec:
        """The model asked for, or the task's default. Raises: InvalidOption."""
        wanted = self.values.get("model")
        able = models.names_for(self.task)
        spec = models.get(wanted) if wanted else models.default_for(self.task)
        if not able:
            raise InvalidOption("model", "no_model", value=self.name)
        if spec is None or self.task not in spec.tasks:
            near = difflib.get_close_matches(str(wanted), able, 1)
            allowed = ", ".join(able)
            raise InvalidOption("model", "choice", value=wanted, allowed=allowed, nearest=near[0] if near else "")
        return spec

    @abstractmethod
    def fill(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        """Every option with its value for this model. `seed` is used when none was given; `aspect` is the first
        picture's width / height. Raises: InvalidOption when the model does not take a value."""

    @abstractmethod
    def steps_of(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        """For prices: (steps or tokens, size relative to the model's own, how many results)."""
