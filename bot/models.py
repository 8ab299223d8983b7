"""What the house knows of a checkpoint: where it is, what it can do, which options it takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

TEXT_TO_IMAGE = "text-to-image"
IMAGE_TO_IMAGE = "image-to-image"
IMAGE_TEXT_TO_IMAGE = "image-text-to-image"
IMAGE_TO_TEXT = "image-to-text"
VISUAL_QUESTION_ANSWERING = "visual-question-answering"
TASKS = (TEXT_TO_IMAGE, IMAGE_TO_IMAGE, IMAGE_TEXT_TO_IMAGE, IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)

SAMPLERS = (
    "ddim",
    "ddpm",
    "deis",
    "dpmpp_2m",
    "dpmpp_sde",
    "euler",
    "euler_a",
    "flow_euler",
    "heun",
    "ipndm",
    "lcm",
    "lms",
    "pndm",
    "unipc",
)
"""Every sampler name that Easel knows; a model takes some of them. `inference` maps them to scheduler classes."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """`[models.NAME]` in the config. Another checkpoint is one more such table, and no code."""

    bounds: ClassVar[Mapping[str, tuple[float | None, float | None]]] = {
        **dict.fromkeys(("steps", "max_steps", "width", "height", "size_multiple", "min_size", "max_size"), (1, None)),
        "max_new_tokens": (1, None),
        "strength": (0.01, 1),
    }

    tasks: tuple[str, ...]
    repo: str
    """`org/name`, or a folder (relative to the clone)."""
    revision: str = ""
    dtype: str = "auto"
    memory_mb: int = 0
    """Estimated device memory, MiB; 0: unknown."""
    licence: str = ""
    demo: bool = False
    """A demo model costs no quota and its results say that it is one."""
    steps: int = 20
    max_steps: int = 150
    guidance_scale: float = 5.0
    width: int = 512
    height: int = 512
    size_multiple: int = 8
    min_size: int = 64
    max_size: int = 1024
    takes_negative: bool = True
    strength: float = 0.6
    sampler: str = ""
    samplers: tuple[str, ...] = ()
    """What the model takes; empty: asked from the model itself when it is first loaded."""
    max_new_tokens: int = 30
    question_template: str = "Question: {question} Answer:"
    step_s: float = 1.0
    """Device-seconds of one step (one token, for text) at the default size, until measured."""
    overhead_s: float = 0.5
    """Device-seconds of a job beside its steps, until measured."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec(ModelSettings):
    """A configured model with its name and what it said of itself when it was loaded."""

    name: str
    form: Mapping[str, Any] = field(default_factory=dict)
    """What `Described` reported: `{"samplers": [...], "options": [...], "revision": "..."}`; empty before."""

    def describe(self, form: Mapping[str, Any]) -> "ModelSpec":
        return replace(self, form=dict(form))

    @property
    def known_samplers(self) -> tuple[str, ...]:
        return self.samplers or tuple(self.form.get("samplers", ())) or SAMPLERS


class Models:
    """The models of this house, first configured first. The first that can do a task is the task's default."""

    def __init__(self, specs: Mapping[str, ModelSpec]) -> None:
        self._specs = dict(specs)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._specs.values())

    def get(self, name: str) -> ModelSpec | None:
        return self._specs.get(name)

    def default_for(self, task: str) -> ModelSpec | None:
        return next((spec for spec in self if task in spec.tasks), None)

    def names_for(self, task: str) -> list[str]:
        return [spec.name for spec in self if task in spec.tasks]

    def learn(self, name: str, form: Mapping[str, Any]) -> None:
        if name in self._specs:
            self._specs[name] = self._specs[name].describe(form)
