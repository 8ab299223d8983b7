"""Models: where a checkpoint is, which tasks it can do, and which options it supports."""

import difflib
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Literal

from bot.errors import ModelRefused
from bot.samplers import SAMPLERS

TEXT_TO_IMAGE = "text-to-image"
IMAGE_TO_IMAGE = "image-to-image"
IMAGE_TEXT_TO_IMAGE = "image-text-to-image"
IMAGE_TO_TEXT = "image-to-text"
VISUAL_QUESTION_ANSWERING = "visual-question-answering"
IMAGE_TEXT_TO_TEXT = "image-text-to-text"
"""The tag of models that chat, beside the tasks that they can be asked for."""
IMAGE_TASKS = frozenset({TEXT_TO_IMAGE, IMAGE_TO_IMAGE, IMAGE_TEXT_TO_IMAGE})
"""Tasks that produce images."""
ZERO_SHOT_IMAGE_CLASSIFICATION = "zero-shot-image-classification"
"""Rates how well texts match an image."""
IMAGE_SEGMENTATION = "image-segmentation"
"""Makes a mask of what a text names."""
DEPTH_ESTIMATION = "depth-estimation"
KEYPOINT_DETECTION = "keypoint-detection"
"""Finds the joints of people: maps of poses."""
IMAGE_UPSCALING = "image-upscaling"
"""Easel's own tag: the Hub files upscalers under image-to-image."""
IMAGE_CLASSIFICATION = "image-classification"
"""The task of the safety classifier; it cannot be requested."""
TASKS = (
    *(TEXT_TO_IMAGE, IMAGE_TO_IMAGE, IMAGE_TEXT_TO_IMAGE),
    *(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING, ZERO_SHOT_IMAGE_CLASSIFICATION),
    *(IMAGE_SEGMENTATION, DEPTH_ESTIMATION, KEYPOINT_DETECTION, IMAGE_UPSCALING),
)
TORCH: Final = "torch"
"""The backend of a model that runs on no build."""
CONTROL_KINDS = ("canny", "lineart", "scribble", "depth", "pose", "tile")
REFERENCE_KINDS = ("style", "subject")
GGUF_SUFFIX = ".gguf"
_KINDS = (IMAGE_TASKS, frozenset({IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING}))
"""Tasks of models of one kind; each other task is a kind of its own."""


def related_tasks(tasks: Iterable[str]) -> frozenset[str]:
    """These tasks and all others of their kinds."""
    return frozenset().union(*(next((kind for kind in _KINDS if task in kind), {task}) for task in tasks))


@dataclass(frozen=True, kw_only=True)
class ControlSource:
    """Weights that add a kind of control, or of reference, to a model: a ControlNet, a T2I-Adapter or an IP-Adapter.

    `file`: one of the repo's weights; empty: the repo is a folder in Diffusers' layout.
    """

    repo: str
    file: str = ""
    revision: str = ""
    licence: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """`[models.NAME]` in the config. Adding a checkpoint takes one such table and no code."""

    bounds: ClassVar[Mapping[str, tuple[float | None, float | None]]] = {
        **dict.fromkeys(("steps", "max_steps", "width", "height", "size_multiple", "min_size", "max_size"), (1, None)),
        "max_new_tokens": (1, None),
        **dict.fromkeys(("max_answer_tokens", "min_caption_tokens"), (0, None)),
        "num_beams": (1, 8),
        "answer_length_penalty": (-5, 5),
        "image_cache_mb": (0, None),
        "min_confidence": (0.5, 1),
        "low_match": (0, 1),
        "strength": (0.01, 1),
        "max_images": (1, 10),
    }
    renamed: ClassVar[Mapping[str, str]] = {
        "seen_mb": "image_cache_mb",
        "work_mb": "activation_mb",
        "decode_mb": "vae_decode_mb",
        "parts_mb": "components_mb",
    }
    """New name by old name; the old ones still work."""

    tasks: tuple[str, ...]
    repo: str
    """`org/name`, or a folder or `.safetensors` file (relative to the clone)."""
    file: str = ""
    """The single-file checkpoint in a hub repo; empty: the repo is a folder of components."""
    title: str = ""
    """Display name; empty: its name."""
    enabled: bool = True
    """False: a preset, not used until `models use` enables it."""
    default_for: tuple[str, ...] = ()
    """Tasks that it is the default model for, whatever its position in the config."""
    revision: str = ""
    variant: str = ""
    """Variant of the repo's weights: "" for the plain ones, "fp16" for `*.fp16.safetensors`."""
    loras: tuple[str, ...] = ()
    """Repos, folders or files of LoRAs that are fused into the model when it is loaded; `org/name/file.safetensors` is
    one of several files in a repo."""
    adapters: tuple[str, ...] = ()
    """Adapters trained here, for requests that name none: the first answers; of an image model, all are LoRAs."""
    preview: str = ""
    """Repo or folder of a small autoencoder for previews (TAESD, for example `madebyollin/taesd`); it must already be
    downloaded. Empty: a linear approximation, if one is known."""
    controls: Mapping[str, str | ControlSource] = field(default_factory=dict)
    """By kind (`CONTROL_KINDS`, `REFERENCE_KINDS`): a repo or folder, or a table."""
    upscaler: str = ""
    """Name of the upscaling model that suits its images; empty: the default one."""
    detector: str = ""
    """Repo or folder of the model that finds boxes for this one: by words for SAM 2, of people for ViTPose."""
    min_confidence: float = 0.5
    """Probability that a region's pixels must reach (0.2 % of the image's) for the region to count as found."""
    low_match: float = 0.01
    """Of a model that matches texts and images: the probability below which a picture may not show its prompt."""
    dtype: str = "auto"
    memory_mb: int = 0
    """Estimated device memory, MiB; 0: unknown."""
    offload_mb: int = 0
    """Estimated device memory with model offload, MiB; 0: unknown, or derived from `components_mb`."""
    components_mb: Mapping[str, int] = field(default_factory=dict)
    """Weights of each component in half precision, by its name in the repo, MiB; empty: unknown."""
    activation_mb: int = 0
    """Activations of a denoising step at the default size, MiB."""
    vae_decode_mb: int = 0
    """Activations of VAE decoding at the default size, MiB."""
    quantize: Literal["auto", "none", "8bit", "4bit", "fp8"] = "auto"
    """"auto": weights in fewer bits if that avoids slower offloading, with the libraries that are installed."""
    base_model: str = ""
    """Of a `.gguf` file: the repo or folder with its other components; empty: that of its family."""
    allow_hub_kernels: bool = False
    """Whether compiled code from the Hub may run for it, which SVDQuant needs."""
    backend: Literal["torch", "openvino", "onnx"] = TORCH
    """What computes the denoiser: "torch", or a build that `models optimize` has compiled; without one, torch."""
    providers: tuple[Literal["cpu", "cuda", "tensorrt", "directml", "coreml"], ...] = ()
    """ONNX Runtime's execution providers, best first; empty: the CPU's."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile for the repeated blocks of its denoiser; "auto": on GPUs where a trial found it quicker."""
    ram_mb: int = 0
    """Estimated RAM while it loads, MiB; 0: unknown."""
    download_mb: int = 0
    """Download size, MiB; 0: unknown, or nothing is downloaded."""
    licence: str = ""
    licences: tuple[str, ...] = ()
    """Licences of components that have their own, such as "text encoder: Apache-2.0"."""
    licence_url: str = ""
    commercial: bool = True
    """False: its licence excludes commercial use."""
    demo: bool = False
    """A demo model costs no quota, and its results carry a hint."""
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
    """Maximum number of input images: of an edit, the image to change and its references; of a question, the images
    that it is about."""
    strength: float = 0.6
    sampler: str = ""
    samplers: tuple[str, ...] = ()
    """Samplers that it supports; empty: read from the model when it is first loaded."""
    scheduler: Mapping[str, float] = field(default_factory=dict)
    """Settings of the model's own scheduler, by Diffusers' names, that replace those of its repo."""
    max_new_tokens: int = 30
    max_answer_tokens: int = 0
    """Tokens of an answer to a question, at most; 0: as many as of a caption."""
    min_caption_tokens: int = 0
    num_beams: int = 1
    """Width of the beam search for its captions and answers; 1: none, and many people's texts share each pass."""
    answer_length_penalty: float = 1.0
    """With several beams: below 0 prefers short answers."""
    caption_prompt: str = ""
    """What its captions begin with, without being part of them."""
    image_cache_mb: int = 64
    """MiB of image features cached for follow-up questions."""
    question_template: str = "Question: {question} Answer:"
    step_s: float = 1.0
    """Device-seconds of one step (one token, for text) at the default size, until measured."""
    overhead_s: float = 0.5
    """Device-seconds of overhead per job, until measured."""
    cpu_step_s: float = 0.0
    """`step_s` without an accelerator; 0: unknown."""


LOAD_START_S, LOAD_MB_PER_S = 1.0, 500.0
"""Until a model's loading is measured: the seconds that each load takes, and the MiB that it loads per second."""
IMPORT_S = 10.0
"""Seconds that a worker process needs to import the engines' libraries before its first load, until measured."""


def slots_of(capabilities: Mapping[str, Any]) -> int:
    """The number of concurrent tasks that a model's capabilities allow."""
    rows = capabilities.get("rows", 1)
    return rows if isinstance(rows, int) and rows >= 1 else 1


MAX_NAME = 200
"""Characters of a requested name that are looked at."""
REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE_IN_REPO = re.compile(rf"({REPO.pattern})/([\w][\w./-]*\.safetensors)")


def split_repo_file(source: str) -> tuple[str, str]:
    """The repo and the file of `org/name/file.safetensors`; any other source, and no file."""
    match = _FILE_IN_REPO.fullmatch(source)
    return (match[1], match[2]) if match else (source, "")


@dataclass(frozen=True, kw_only=True)
class InstallProgress:
    """Progress of a model's installation.

    `stage` is "downloading", "checking", "loading" or "trying"; `done` and `total` are bytes, `rate` bytes per second.
    """

    stage: str
    done: int = 0
    total: int = 0
    rate: float = 0.0
    eta_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSpec(ModelSettings):
    """A configured model with its name and the capabilities it reported when it was loaded."""

    name: str
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    """From `ModelCapabilities`: `{"samplers": [...], "options": [...], "revision": "..."}`; empty before the first
    load."""
    generation: int = 0
    """Another number has workers load it anew, because something in its files has changed."""

    def with_capabilities(self, capabilities: Mapping[str, Any]) -> "ModelSpec":
        return replace(self, capabilities=dict(capabilities))

    @property
    def slots(self) -> int:
        """The number of tasks that can share it on one device."""
        return slots_of(self.capabilities)

    @property
    def expected_load_s(self) -> float:
        """Seconds that loading it takes, until measured, in a process that has imported the libraries."""
        return LOAD_START_S + self.memory_mb / LOAD_MB_PER_S

    @property
    def display_name(self) -> str:
        return self.title or self.name

    @property
    def is_local(self) -> bool:
        """It is a folder or file on this machine, not `org/name` on a hub."""
        return not REPO.fullmatch(self.repo) or self.repo.endswith(GGUF_SUFFIX)

    @property
    def is_gguf(self) -> bool:
        """Its denoiser is a `.gguf` file."""
        return (self.file or self.repo).endswith(GGUF_SUFFIX)

    def control_source(self, kind: str) -> ControlSource | None:
        """The weights for this kind of control or reference; None: the model has none."""
        source = self.controls.get(kind)
        return ControlSource(repo=source) if isinstance(source, str) else source

    def adapter_kind(self, kind: str) -> str:
        """The kind of the IP-Adapter for a reference of this kind: for "", subject before style. Empty: none."""
        wanted = (kind,) if kind else reversed(REFERENCE_KINDS)
        return next((one for one in wanted if self.control_source(one) is not None), "")

    @property
    def takes_references(self) -> bool:
        """Whether it takes reference images itself, beside the prompt; other models need an IP-Adapter."""
        return IMAGE_TEXT_TO_IMAGE in self.tasks and self.max_images > 1

    @property
    def known_samplers(self) -> tuple[str, ...]:
        return self.samplers or tuple(self.capabilities.get("samplers", ())) or SAMPLERS


def _without(tasks: Iterable[str], removed: Container[str]) -> tuple[str, ...]:
    return tuple(task for task in tasks if task not in removed)


class ModelRegistry:
    """The enabled models in the order of the config, and the presets that can be enabled.

    A task's default is the model that has it in `default_for`, else the first that can do it. At run time only
    `bot.usecases.model_manager` and `bot.usecases.model_catalogue` change the registry.
    """

    def __init__(self, specs: Mapping[str, ModelSpec]) -> None:
        self._specs = {name: spec for name, spec in specs.items() if spec.enabled}
        self._presets = {name: spec for name, spec in specs.items() if not spec.enabled}
        self._installing: dict[str, InstallProgress] = {}

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._specs.values())

    def get(self, name: str) -> ModelSpec | None:
        """A model that jobs may request, installed or being installed."""
        return self._specs.get(name)

    @property
    def presets(self) -> list[ModelSpec]:
        """Models that can be enabled."""
        return list(self._presets.values())

    @property
    def all_specs(self) -> list[ModelSpec]:
        """Enabled models, then presets."""
        return [*self, *self.presets]

    def find(self, name: str) -> ModelSpec | None:
        """A model or a preset."""
        return self._specs.get(name) or self._presets.get(name)

    def require(self, name: str) -> ModelSpec:
        """A model or a preset. Raises: ModelRefused, with the most similar names."""
        spec = self.find(name[:MAX_NAME].strip().casefold())
        if spec is None:
            known = [one.name for one in self.all_specs]
            near = difflib.get_close_matches(name[:MAX_NAME], known, 3, cutoff=0.4) or known
            raise ModelRefused(name[:60], "unknown", detail=", ".join(near))
        return spec

    def installed(self) -> list[ModelSpec]:
        """Models that devices may load now."""
        return [spec for spec in self if spec.name not in self._installing]

    def default_for(self, task: str) -> ModelSpec | None:
        """The model with the task in `default_for`, else the first with an empty `default_for`, else the first that can
        do it: a model chosen as the default for some of its tasks is not meant for the others. No stand-in."""
        able = [spec for spec in self.installed() if task in spec.tasks and not self.is_stand_in(spec, task)]
        ranked = sorted(able, key=lambda spec: (task not in spec.default_for, bool(spec.default_for)))
        return ranked[0] if ranked else None

    def is_stand_in(self, spec: ModelSpec, task: str) -> bool:
        """Whether it is a demo that would do the task in place of real models of its kind: only on request."""
        if not spec.demo or task in spec.default_for:
            return False
        return self.real_model_of_kind(task) is not None

    def real_model_of_kind(self, task: str) -> ModelSpec | None:
        """An installed model that is no demo and does this or a related task."""
        kind = related_tasks([task])
        return next((spec for spec in self.installed() if not spec.demo and kind & set(spec.tasks)), None)

    def names_for(self, task: str) -> list[str]:
        return [spec.name for spec in self if task in spec.tasks]

    def set_capabilities(self, name: str, capabilities: Mapping[str, Any]) -> None:
        if name in self._specs:
            self._specs[name] = self._specs[name].with_capabilities(capabilities)

    # ------------------------------------------------------------ changes at run time

    def add_model(self, spec: ModelSpec) -> None:
        """Add a model before all others, or replace its settings. It becomes the only default for its `default_for`;
        a real one also ends what demos are the default for among related tasks."""
        own_tasks = frozenset(spec.default_for)
        demo_tasks = own_tasks if spec.demo else related_tasks(own_tasks)
        others = {
            name: replace(other, default_for=_without(other.default_for, demo_tasks if other.demo else own_tasks))
            for name, other in self._specs.items()
        }
        self._specs = others | {spec.name: spec} if spec.name in others else {spec.name: spec} | others
        self._presets.pop(spec.name, None)

    def add_preset(self, preset: ModelSpec) -> None:
        """Add a model that can be enabled."""
        self._presets[preset.name] = preset

    def remove_model(self, name: str, preset: ModelSpec | None = None) -> None:
        """Remove a model; `preset` can be enabled again in its place."""
        self._specs.pop(name, None)
        self._installing.pop(name, None)
        if preset is not None:
            self._presets[name] = preset

    def set_install_progress(self, name: str, progress: InstallProgress | None) -> None:
        """Record the progress of a model's installation; None: it is installed."""
        if progress is None:
            self._installing.pop(name, None)
        else:
            self._installing[name] = progress

    def install_progress(self, name: str) -> InstallProgress | None:
        """Progress of the model's installation; None: it is installed, or unknown."""
        return self._installing.get(name)
