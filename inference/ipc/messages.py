"""The messages between parent and child: frozen dataclasses in length-prefixed frames.

Frames are pickled, but only dataclasses of this module and of the core can be unpickled: a compromised child cannot
make its parent run code. Errors are sent as a class name and plain fields.
"""

import io
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, BinaryIO

from bot import errors, jobs, models, ports
from bot.jobs import TextUsage
from bot.models import ModelSpec
from bot.ports import (
    Candidates,
    CivitaiFile,
    Embedding,
    MatchScore,
    Measurement,
    ModelCapabilities,
    Progress,
    RepoListing,
    RepoRef,
    Task,
    WorkerPlugin,
)
from inference.ipc import (
    build_messages,
    image_messages,
    mask_messages,
    plugin_messages,
    thumbnail_messages,
    tool_messages,
    training_messages,
)

MAX_FRAME_BYTES = 512 * 2**20
"""Bytes. Easel sends nothing near this size; a longer frame is refused."""

_LENGTH = struct.Struct(">I")
HEADER_SIZE = _LENGTH.size


class ProtocolError(Exception):
    """The bytes are not a message: the other side is broken or is not Easel."""


# ---------------------------------------------------------------- to the child


@dataclass(frozen=True, kw_only=True)
class Init:
    """The first message.

    Attributes:
        engine_factory: import path of a function that makes an engine for a model, "module:function".
        classifier_factory: import path of a function that loads a classifier as an
            `inference.safety.checker.ImageScorer`.
        measurements: measured on this device by earlier processes.
        plugins: to be loaded, in the order in which their hooks are called.
    """

    device: str
    engine_factory: str
    classifiers: tuple[ModelSpec, ...] = ()
    classifier_factory: str = ""
    threads: int = 0
    max_loaded_models: int = 4
    loaded_models_mb: int = 0
    heartbeat_timeout_s: float = 30.0
    measurements: tuple[Measurement, ...] = ()
    plugins: tuple[WorkerPlugin, ...] = ()


@dataclass(frozen=True)
class StartTask:
    task: Task


@dataclass(frozen=True)
class CancelTask:
    task_id: str


@dataclass(frozen=True)
class SetPreviews:
    task_id: str
    is_enabled: bool


@dataclass(frozen=True)
class KeepRows:
    """These images of a task that waits after `step` go on; its others are dropped."""

    task_id: str
    step: int
    kept: tuple[int, ...]


@dataclass(frozen=True)
class LoadModel:
    model: ModelSpec


@dataclass(frozen=True, kw_only=True)
class UnloadModels:
    """Unload these models, or, if none is named, all models that no task runs on."""

    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shutdown:
    pass


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When a download gives up: seconds without a byte, attempts without progress, and the delays between them."""

    stall_timeout_s: float = 60.0
    max_attempts: int = 6
    backoff_s: float = 1.0
    max_backoff_s: float = 120.0


@dataclass(frozen=True)
class InspectRepo:
    ref: RepoRef


@dataclass(frozen=True)
class DownloadRepo:
    listing: RepoListing
    retry_policy: RetryPolicy


@dataclass(frozen=True)
class DownloadCivitai:
    file: CivitaiFile
    folder: str
    retry_policy: RetryPolicy


# ---------------------------------------------------------------- from the child


@dataclass(frozen=True)
class DownloadDone:
    """All files are verified and in the cache, or one of Civitai's is at `path`."""

    path: str = ""


@dataclass(frozen=True)
class Ready:
    """The child runs. `slots`: number of tasks it runs concurrently."""

    slots: int


@dataclass(frozen=True)
class Heartbeat:
    """The child is alive. `memory_mb`: memory it uses, MiB: the device's, where the device has its own, else RAM.

    `total_mb`: all of that memory; 0: unknown. `passes`, `rows`: forward passes since the last one, and their rows.
    """

    memory_mb: int
    total_mb: int = 0
    passes: int = 0
    rows: int = 0


@dataclass(frozen=True)
class TaskAccepted:
    """The child has received the task: if it crashes from now on, the task can be the cause."""

    task_id: str


@dataclass(frozen=True)
class ModelLoading:
    model: str


@dataclass(frozen=True, kw_only=True)
class ModelLoaded:
    """Loading succeeded or failed. `loaded_models`: all models that are loaded now."""

    model: str
    loaded_models: tuple[str, ...]
    capabilities: ModelCapabilities | None = None
    measurements: tuple[Measurement, ...] = ()
    failure: "PackedError | None" = None


@dataclass(frozen=True)
class RestartRequested:
    """The child accepts no more tasks and ends when it is idle: it is out of memory and needs a restart."""


@dataclass(frozen=True, kw_only=True)
class ModelsUnloaded:
    """These models were unloaded. `loaded_models`: those that still are; `freed_mb`: of the device, else of RAM."""

    models: tuple[str, ...]
    loaded_models: tuple[str, ...]
    freed_mb: int


@dataclass(frozen=True)
class TaskStarted:
    """The task's device time starts."""

    task_id: str


@dataclass(frozen=True, kw_only=True)
class RawImage:
    """One image as computed.

    Attributes:
        pixels: RGB or RGBA, 8 bit, height x width x 3 or 4 bytes.
        seed: generates this image alone.
        sampler: the one that was used, by Easel's name; "" when the engine has none.
        revision: of the weights.
        nsfw: the probability that it is sexual, 0 to 1; None: not checked.
        is_generated: False: computed from the task's first image, such as a map or a mask, whose metadata it keeps.
        postprocess: what was done to that image, as fields of A1111's text; such an image is marked as generated.
    """

    index: int
    width: int
    height: int
    pixels: bytes
    seed: int
    sampler: str = ""
    revision: str = ""
    nsfw: float | None = None
    is_generated: bool = True
    postprocess: str = ""


@dataclass(frozen=True, kw_only=True)
class TaskEvent:
    """An event of a running task. `used_s`: device-seconds it has used so far."""

    task_id: str
    event: Progress | Measurement | ModelCapabilities | RawImage | Candidates
    used_s: float


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """`usage`, `scores`, `matches`, `embeddings`: see `TaskOutput`."""

    text: str | None = None
    usage: TextUsage | None = None
    scores: tuple[float | None, ...] = ()
    matches: tuple[MatchScore, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    notes: tuple[str, ...] = ()
    revision: str = ""


@dataclass(frozen=True)
class Cancelled:
    """The task was cancelled."""


@dataclass(frozen=True)
class PackedError:
    """A serialized EaselError: its class name in `bot.errors` and its fields."""

    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TaskEnded:
    task_id: str
    outcome: TaskResult | Cancelled | PackedError
    used_s: float


# ---------------------------------------------------------------- frames


def _classes_in(*modules: Any) -> dict[tuple[str, str], type]:
    found = [(name, value) for module in modules for name, value in vars(module).items()]
    return {(value.__module__, name): value for name, value in found if isinstance(value, type) and is_dataclass(value)}


_ALLOWED_CLASSES = _classes_in(
    *(
        jobs,
        models,
        ports,
        build_messages,
        image_messages,
        mask_messages,
        plugin_messages,
        thumbnail_messages,
        tool_messages,
        training_messages,
    )
)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        allowed = _ALLOWED_CLASSES.get((module, name)) or _message_class(module, name)
        if allowed is None:
            raise ProtocolError(f"{module}.{name} is not a message")
        return allowed


def _message_class(module: str, name: str) -> type | None:
    value = globals().get(name) if module == __name__ else None
    return value if isinstance(value, type) and is_dataclass(value) else None


def encode_frame(message: object) -> bytes:
    """The message as one frame: four bytes of length, big-endian, then the pickle."""
    body = pickle.dumps(message, protocol=5)
    return _LENGTH.pack(len(body)) + body


def body_length(header: bytes) -> int:
    """Raises: ProtocolError."""
    (length,) = _LENGTH.unpack(header)
    if length > MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame of {length} bytes")
    return int(length)


def decode_body(body: bytes) -> Any:
    """Raises: ProtocolError."""
    try:
        return _Unpickler(io.BytesIO(body)).load()
    except ProtocolError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise ProtocolError(f"{type(error).__name__}") from error


def read_message(stream: BinaryIO) -> Any | None:
    """The next message of a blocking stream; None at its end.

    Raises: ProtocolError.
    """
    header = stream.read(HEADER_SIZE)
    if len(header) < HEADER_SIZE:
        return None
    length = body_length(header)
    body = stream.read(length)
    return decode_body(body) if len(body) == length else None


# ---------------------------------------------------------------- errors


def pack_error(error: errors.EaselError) -> PackedError:
    return PackedError(type(error).__name__, {k: v for k, v in vars(error).items() if _is_plain(v)})


def unpack_error(packed: PackedError) -> errors.EaselError:
    """The original error; one whose class is not in `bot.errors` becomes an EngineError."""
    cls = getattr(errors, packed.name, None)
    if not (isinstance(cls, type) and issubclass(cls, errors.EaselError)):
        return errors.EngineError(detail=f"{packed.name}: {dict(packed.fields)}")
    error = cls.__new__(cls)
    vars(error).update(packed.fields)
    return error


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool | tuple)
