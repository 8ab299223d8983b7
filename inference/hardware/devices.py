"""What the hardware has, found out without importing torch here.

Most machines without a graphics card show that at once; only where there may be one does a short child process ask
torch.
"""

import asyncio
import contextlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import structlog

from bot.errors import ConfigError
from inference.ipc.environment import clean_environment
from inference.ipc.process import ROOT

_log = structlog.get_logger("inference")
_PROBE_S = 60.0
_NAMES = ("cuda", "mps", "xpu", "cpu")
"""What torch calls devices; AMD's cards too are "cuda" to it."""
_KINDS = ("cuda", "rocm", "mps", "xpu", "cpu")
"""In the order in which "auto" takes them."""
_DEVICE_NODES = ("nvidia[0-9]*", "nvidiactl", "dxg", "kfd", "dri/renderD*")
"""Under /dev on Linux: NVIDIA, WSL's graphics, AMD's compute, any graphics card that renders."""


@dataclass(frozen=True, kw_only=True)
class DevicesSettings:
    """`use`: "auto", or the devices to use, such as "cuda:0" or "cpu"."""

    use: str | tuple[str, ...] = "auto"


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """One device. `kind`: "cuda" (NVIDIA), "rocm" (AMD), "xpu" (Intel), "mps" (Apple) or "cpu".

    `memory_mb`: its own memory or, where it shares the machine's, what it may take of that; MiB, 0: unknown.
    `bfloat16`: computes in it by itself; older cards imitate it.
    """

    name: str
    kind: str
    title: str = ""
    memory_mb: int = 0
    bfloat16: bool = True


async def configured_devices(settings: DevicesSettings) -> list[str]:
    """The names of the devices to use; never empty.

    Raises: ConfigError, when a name is none that torch could know.
    """
    if settings.use != "auto":
        names = [settings.use] if isinstance(settings.use, str) else list(settings.use)
        _check(names)
        return names
    if is_surely_without_accelerator():
        return ["cpu"]
    return choose(await probe())


def choose(found: Sequence[Hardware]) -> list[str]:
    """All NVIDIA cards, else the others of the best kind there is."""
    for kind in _KINDS:
        if names := [device.name for device in found if device.kind == kind]:
            return names
    return ["cpu"]


async def probe() -> list[Hardware]:
    """Ask torch, in a child process. Takes seconds; only the CPU is found when the child fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "inference.hardware.probe",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
        env=clean_environment(os.environ),
    )
    try:
        async with asyncio.timeout(_PROBE_S):
            said, _ = await process.communicate()
        return [Hardware(**device) for device in json.loads(said)]
    except (TimeoutError, ValueError, TypeError) as error:
        _log.warning("The hardware could not be looked at", action="probe_failed", problem=repr(error))
        return [Hardware(name="cpu", kind="cpu")]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def is_surely_without_accelerator(dev: Path = Path("/dev")) -> bool:
    """True when a look at file names already tells that torch has nothing but the CPU here."""
    with contextlib.suppress(PackageNotFoundError):
        if version("torch").endswith("+cpu"):
            return True
    if platform.system() == "Linux":
        return not any(any(dev.glob(pattern)) for pattern in _DEVICE_NODES)
    return platform.system() == "Darwin" and platform.machine() != "arm64"


def _check(names: Sequence[str]) -> None:
    wrong = [name for name in names if not _is_device(name)]
    if wrong or not names:
        raise ConfigError(
            [f'devices.use: {name!r} is no device; use "auto", "cpu", "mps", "cuda:0", "xpu:0", ...' for name in wrong]
            or ["devices.use: the list is empty"]
        )


def _is_device(name: str) -> bool:
    kind, colon, index = name.partition(":")
    return kind in _NAMES and (not colon or index.isdigit())
