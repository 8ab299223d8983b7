"""What the house knows of a checkpoint: where it is, what it can do, which options it takes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

TEXT_TO_IMAGE = "text-to-image"
IMAGE_TO_IMAGE = "image-to-image"
IMAGE_TEXT_TO_IMAGE = "image-text-to-image"
IMAGE_TO_TEXT = "image-to-text"
VISUAL_QUESTION_ANSWERING = "visual-question-answering"
PICTURE_TASKS = frozenset({TEXT_TO_IMAGE, IMAGE_TO_IMAGE, IMAGE_TEXT_TO_IMAGE})
"""Those that end in pictures."""
ZERO_SHOT_IMAGE_CLASSIFICATION = "zero-shot-image-classification"
"""How well texts fit a picture."""
IMAGE_CLASSIFICATION = "image-classification"
"""What the safety classifier does; nobody can ask for it."""
TASKS = (
    *(TEXT_TO_IMAGE, IMAGE_TO_IMAGE, IMAGE_TEXT_TO_IMAGE),
    *(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING, ZERO_SHOT_IMAGE_CLASSIFICATION),
)

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
        "seen_mb": (0, None),
        "strength": (0.01, 1),
        "max_images": (1, 4),
    }

    tasks: tuple[str, ...]
    repo: str
    """`org/name`, or a folder or `.safetensors` file (relative to the clone)."""
    file: str = ""
    """Of a hub's repo, the one file that is the whole model; empty: the repo is a folder of parts."""
    title: str = ""
    """What people call it; empty: its name."""
    enabled: bool = True
    """False: a preset, not used before `models use` chooses it."""
    default_for: tuple[str, ...] = ()
    """Tasks that it does when nobody names a model, whatever comes before it in the config."""
    revision: str = ""
    variant: str = ""
    """Which of the repo's weights: "" is the plain ones, "fp16" those named `*.fp16.safetensors`."""
    loras: tuple[str, ...] = ()
    """Repos, folders or files of LoRAs that become part of the model when it is loaded."""
    preview: str = ""
    """Repo or folder of a small autoencoder that shows what is being made (TAESD, for example `madebyollin/taesd`); it
    must be here already. Empty: a linear map, where one is known."""
    dtype: str = "auto"
    memory_mb: int = 0
    """Estimated device memory, MiB; 0: unknown."""
    offload_mb: int = 0
    """The same when its parts take turns on the device and wait in RAM, MiB; 0: unknown, or `parts_mb` tells."""
    parts_mb: Mapping[str, int] = field(default_factory=dict)
    """Weights of each part in half precision, by the part's name in the repo, MiB; empty: unknown."""
    work_mb: int = 0
    """What a step takes beside the weights at the default size, MiB."""
    decode_mb: int = 0
    """What decoding a picture of the default size takes beside them, MiB."""
    quantize: Literal["auto", "none", "8bit"] = "auto"
    """"auto": 8-bit weights where that saves moving them about, and torchao is installed."""
    ram_mb: int = 0
    """Estimated main memory while it loads, MiB; 0: unknown."""
    download_mb: int = 0
    """What fetching it takes, MiB; 0: unknown, or nothing is fetched."""
    licence: str = ""
    licences: tuple[str, ...] = ()
    """Of each part that has one of its own, such as "text encoder: Apache-2.0"."""
    licence_url: str = ""
    commercial: bool = True
    """False: its licence keeps it from commercial use."""
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
    takes_guidance: bool = True
    max_images: int = 1
    """Pictures that an edit takes: the one to change, and those to refer to."""
    strength: float = 0.6
    sampler: str = ""
    samplers: tuple[str, ...] = ()
    """What the model takes; empty: asked from the model itself when it is first loaded."""
    max_new_tokens: int = 30
    seen_mb: int = 64
    """MiB of what it saw in pictures that it keeps, so that further questions need no second look."""
    question_template: str = "Question: {question} Answer:"
    step_s: float = 1.0
    """Device-seconds of one step (one token, for text) at the default size, until measured."""
    overhead_s: float = 0.5
    """Device-seconds of a job beside its steps, until measured."""
    cpu_step_s: float = 0.0
    """The same as `step_s` without an accelerator; 0: unknown."""


ARRIVING = "arriving"
"""`Progress.note` of a job that waits for its model."""


def rows_of(form: Mapping[str, Any]) -> int:
    """How many tasks a loaded model takes at once, by its own description."""
    rows = form.get("rows", 1)
    return rows if isinstance(rows, int) and rows >= 1 else 1


REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A model on its way here.

    `stage` is "downloading", "checking", "loading" or "trying"; `done` and `total` are bytes, `rate` bytes a second.
    """

    stage: str
    done: int = 0
    total: int = 0
    rate: float = 0.0
    eta_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSpec(ModelSettings):
    """A configured model with its name and what it said of itself when it was loaded."""

    name: str
    form: Mapping[str, Any] = field(default_factory=dict)
    """What `Described` reported: `{"samplers": [...], "options": [...], "revision": "..."}`; empty before."""

    def describe(self, form: Mapping[str, Any]) -> "ModelSpec":
        return replace(self, form=dict(form))

    @property
    def rows(self) -> int:
        """How many tasks share it on one device, as far as it said."""
        return rows_of(self.form)

    @property
    def called(self) -> str:
        return self.title or self.name

    @property
    def is_local(self) -> bool:
        """A folder or file of this machine; else `org/name` of a hub."""
        return not REPO.fullmatch(self.repo)

    @property
    def known_samplers(self) -> tuple[str, ...]:
        return self.samplers or tuple(self.form.get("samplers", ())) or SAMPLERS


class Models:
    """The models of this house, first configured first, and the presets that could become some.

    The first that can do a task is the task's default, unless one says in `default_for` that it is. What changes here
    at run time is changed by `bot.usecases.models`.
    """

    def __init__(self, specs: Mapping[str, ModelSpec]) -> None:
        self._specs = {name: spec for name, spec in specs.items() if spec.enabled}
        self._presets = {name: spec for name, spec in specs.items() if not spec.enabled}
        self._arriving: dict[str, Arrival] = {}

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._specs.values())

    def get(self, name: str) -> ModelSpec | None:
        """A model that jobs may ask for, here or on its way."""
        return self._specs.get(name)

    @property
    def presets(self) -> list[ModelSpec]:
        """What could be chosen and is not."""
        return list(self._presets.values())

    @property
    def known(self) -> list[ModelSpec]:
        """Models, then presets."""
        return [*self, *self.presets]

    def find(self, name: str) -> ModelSpec | None:
        """A model or a preset."""
        return self._specs.get(name) or self._presets.get(name)

    def ready(self) -> list[ModelSpec]:
        """Those that devices may load now."""
        return [spec for spec in self if spec.name not in self._arriving]

    def default_for(self, task: str) -> ModelSpec | None:
        """One that says so, else the first that says nothing, else the first at all: whoever was chosen for some of
        its tasks is not meant for the others."""
        able = [spec for spec in self.ready() if task in spec.tasks]
        ranked = sorted(able, key=lambda spec: (task not in spec.default_for, bool(spec.default_for)))
        return ranked[0] if ranked else None

    def names_for(self, task: str) -> list[str]:
        return [spec.name for spec in self if task in spec.tasks]

    def learn(self, name: str, form: Mapping[str, Any]) -> None:
        if name in self._specs:
            self._specs[name] = self._specs[name].describe(form)

    # ------------------------------------------------------------ what changes at run time

    def put(self, spec: ModelSpec) -> None:
        """A new model, before all others, or new settings of a known one. What it is the default for, no other is."""
        taken = set(spec.default_for)
        others = {
            name: replace(other, default_for=tuple(task for task in other.default_for if task not in taken))
            for name, other in self._specs.items()
        }
        self._specs = others | {spec.name: spec} if spec.name in others else {spec.name: spec} | others
        self._presets.pop(spec.name, None)

    def offer(self, preset: ModelSpec) -> None:
        """A model that can be chosen from now on."""
        self._presets[preset.name] = preset

    def drop(self, name: str, preset: ModelSpec | None = None) -> None:
        """The model is gone; `preset` is what it can become again."""
        self._specs.pop(name, None)
        self._arriving.pop(name, None)
        if preset is not None:
            self._presets[name] = preset

    def arrives(self, name: str, arrival: Arrival | None) -> None:
        """How far a model is on its way here; None: it has arrived."""
        if arrival is None:
            self._arriving.pop(name, None)
        else:
            self._arriving[name] = arrival

    def arrival(self, name: str) -> Arrival | None:
        """How far the model is on its way here; None: it is here, or unknown."""
        return self._arriving.get(name)
