"""What parent and child say to each other: frozen dataclasses in length-prefixed frames.

Frames are pickled, but only the classes named here can be unpickled: a child that went bad cannot
make its parent run anything. Errors travel as a class name and plain fields.
"""

import io
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, BinaryIO

import bot.jobs
import bot.models
import bot.ports
from bot import errors
from bot.models import ModelSpec
from bot.ports import Described, Listing, Measured, Progress, Task, Wanted

MAX_FRAME = 512 * 2**20
"""Bytes. Nothing that Easel sends is near it; a longer frame is noise."""

_LENGTH = struct.Struct(">I")
HEADER_SIZE = _LENGTH.size


class BadFrame(Exception):
    """The bytes are no message: the other side is broken or is not Easel."""


# ---------------------------------------------------------------- to the child


@dataclass(frozen=True, kw_only=True)
class Begin:
    """The first message. `engines` is the import path of the factory, "module:function"; `checker` that of what makes
    `inference.safety.checker.Scores` of the classifier. `rates`: what was measured on this device before.
    """

    device: str
    engines: str
    classifier: ModelSpec | None = None
    checker: str = ""
    threads: int = 0
    max_warm: int = 4
    warm_memory_mb: int = 0
    silence_s: float = 30.0
    rates: tuple[Measured, ...] = ()


@dataclass(frozen=True)
class Run:
    task: Task


@dataclass(frozen=True)
class Cancel:
    task_id: str


@dataclass(frozen=True)
class Watch:
    task_id: str
    watched: bool


@dataclass(frozen=True)
class Load:
    model: ModelSpec


@dataclass(frozen=True, kw_only=True)
class Release:
    """Give the memory of these models back, or, with none named, of all that nothing runs on."""

    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shutdown:
    pass


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How a download bears with its hub: seconds without a byte, tries without progress, and the waits between."""

    stall_s: float = 60.0
    tries: int = 6
    pause_s: float = 1.0
    most_s: float = 120.0


@dataclass(frozen=True)
class Look:
    wanted: Wanted


@dataclass(frozen=True)
class Fetch:
    listing: Listing
    patience: Patience


# ---------------------------------------------------------------- from the child


@dataclass(frozen=True)
class Fetched:
    """All of it is there and right."""


@dataclass(frozen=True)
class Ready:
    """The child runs. `slots`: how many tasks it takes at once."""

    slots: int


@dataclass(frozen=True)
class Beat:
    """The child lives. `memory_mb`: what it holds, MiB (on the device where that has its own)."""

    memory_mb: int


@dataclass(frozen=True)
class Received:
    """From now on the task is this child's business, and its death the task's risk."""

    task_id: str


@dataclass(frozen=True)
class Loading:
    model: str


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Loading ended, well or not. `warm`: the models that are loaded now."""

    model: str
    warm: tuple[str, ...]
    described: Described | None = None
    measured: Measured | None = None
    failure: "Failure | None" = None


@dataclass(frozen=True)
class Worn:
    """The child takes nothing more and ends when it is idle: memory ran out for good, and a new one would do better."""


@dataclass(frozen=True, kw_only=True)
class Released:
    """These models are unloaded; `warm`: those that still are loaded; `freed_mb`: of the device, else of RAM."""

    models: tuple[str, ...]
    warm: tuple[str, ...]
    freed_mb: int


@dataclass(frozen=True)
class Started:
    """The task's device time begins."""

    task_id: str


@dataclass(frozen=True, kw_only=True)
class RawPicture:
    """One picture as computed. `pixels`: RGB, 8 bit, height x width x 3 bytes.

    Attributes:
        seed: the one that makes this picture alone.
        sampler: what was really used, Easel's name; "" when the engine has none.
        revision: which weights made it.
        nsfw: how likely it is sexual, 0 to 1; None: nobody looked.
    """

    index: int
    width: int
    height: int
    pixels: bytes
    seed: int
    sampler: str = ""
    revision: str = ""
    nsfw: float | None = None


@dataclass(frozen=True, kw_only=True)
class Told:
    """Something about a task; `used_s`: device-seconds it used so far."""

    task_id: str
    event: Progress | Measured | RawPicture
    used_s: float


@dataclass(frozen=True, kw_only=True)
class Finished:
    text: str | None = None
    notes: tuple[str, ...] = ()
    revision: str = ""


@dataclass(frozen=True)
class Stopped:
    """The task was cancelled."""


@dataclass(frozen=True)
class Failure:
    """An EaselError on its way: class name in `bot.errors` and its fields."""

    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ended:
    task_id: str
    outcome: Finished | Stopped | Failure
    used_s: float


# ---------------------------------------------------------------- pictures


@dataclass(frozen=True, kw_only=True)
class CleanRequest:
    data: bytes
    max_pixels: int


@dataclass(frozen=True, kw_only=True)
class CleanReply:
    data: bytes
    media_type: str
    width: int
    height: int
    parameters: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class EncodeRequest:
    """`pixels`: RGB, 8 bit. `image_format`: "png", "jpeg" or "webp"."""

    pixels: bytes
    width: int
    height: int
    parameters: str
    easel: str
    image_format: str = "png"


@dataclass(frozen=True, kw_only=True)
class GridRequest:
    """Encoded pictures to lay out on one sheet, `columns` wide (0: as square as it goes)."""

    pictures: tuple[bytes, ...]
    columns: int = 0
    image_format: str = "png"
    parameters: str = ""
    easel: str = ""


@dataclass(frozen=True, kw_only=True)
class ShrinkRequest:
    """One of our own pictures, to be encoded in at most `max_bytes`."""

    data: bytes
    max_bytes: int


@dataclass(frozen=True, kw_only=True)
class EnlargeRequest:
    data: bytes
    width: int
    height: int


@dataclass(frozen=True)
class EncodeReply:
    """`parameters`: the A1111 text that the file holds."""

    data: bytes
    media_type: str
    width: int
    height: int
    parameters: str = ""


# ---------------------------------------------------------------- frames


def _known(*modules: Any) -> dict[tuple[str, str], type]:
    found = {}
    for module in modules:
        for name, thing in vars(module).items():
            if isinstance(thing, type) and is_dataclass(thing):
                found[(thing.__module__, name)] = thing
    return found


_CLASSES = _known(bot.jobs, bot.models, bot.ports)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        found = _CLASSES.get((module, name)) or _own(module, name)
        if found is None:
            raise BadFrame(f"{module}.{name} is no message")
        return found


def _own(module: str, name: str) -> type | None:
    thing = globals().get(name) if module == __name__ else None
    return thing if isinstance(thing, type) and is_dataclass(thing) else None


def encode(message: object) -> bytes:
    """The message as one frame: four bytes of length, big-endian, then the pickle."""
    body = pickle.dumps(message, protocol=5)
    return _LENGTH.pack(len(body)) + body


def body_length(header: bytes) -> int:
    """Raises: BadFrame."""
    (length,) = _LENGTH.unpack(header)
    if length > MAX_FRAME:
        raise BadFrame(f"a frame of {length} bytes")
    return int(length)


def decode(body: bytes) -> Any:
    """Raises: BadFrame."""
    try:
        return _Unpickler(io.BytesIO(body)).load()
    except BadFrame:
        raise
    except Exception as error:  # a broken pickle raises nearly anything
        raise BadFrame(f"{type(error).__name__}") from error


def read(stream: BinaryIO) -> Any | None:
    """The next message of a blocking stream; None when it ended.

    Raises: BadFrame.
    """
    header = stream.read(HEADER_SIZE)
    if len(header) < HEADER_SIZE:
        return None
    length = body_length(header)
    body = stream.read(length)
    return decode(body) if len(body) == length else None


# ---------------------------------------------------------------- errors


def pack_error(error: errors.EaselError) -> Failure:
    return Failure(type(error).__name__, {k: v for k, v in vars(error).items() if _is_plain(v)})


def unpack_error(failure: Failure) -> errors.EaselError:
    """The same error again; one of a class that `bot.errors` lacks becomes an EngineError."""
    kind = getattr(errors, failure.name, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.EaselError)):
        return errors.EngineError(detail=f"{failure.name}: {dict(failure.fields)}")
    error = kind.__new__(kind)
    vars(error).update(failure.fields)
    return error


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool | tuple)
