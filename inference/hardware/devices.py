"""Finds the devices of this machine without importing torch.

On most machines without a graphics card, file names are enough; otherwise a short-lived child process asks torch.
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
from inference.ipc.environment import ROOT, clean_environment

_log = structlog.get_logger("inference")
_PROBE_TIMEOUT_S = 60.0
_TORCH_KINDS = ("cuda", "mps", "xpu", "cpu")
"""torch's names of device types; AMD's cards are "cuda" as well."""
_AUTO_ORDER = ("cuda", "rocm", "mps", "xpu", "cpu")
"""Kinds of devices in the order of preference for "auto"."""
_DEVICE_NODES = ("nvidia[0-9]*", "nvidiactl", "dxg", "kfd", "dri/renderD*")
"""Under /dev on Linux: NVIDIA, WSL's GPU, AMD's compute driver, any card with a render node."""


@dataclass(frozen=True, kw_only=True)
class DevicesSettings:
    """`use`: "auto", or the devices to use, such as "cuda:0" or "cpu"."""

    use: str | tuple[str, ...] = "auto"


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """One device.

    Attributes:
        kind: "cuda" (NVIDIA), "rocm" (AMD), "xpu" (Intel), "mps" (Apple) or "cpu".
        memory_mb: its own memory or, where it shares the machine's, the part it may use; MiB, 0: unknown.
        bfloat16: native support; older cards emulate it.
    """

    name: str
    kind: str
    title: str = ""
    memory_mb: int = 0
    bfloat16: bool = True


async def configured_devices(settings: DevicesSettings) -> list[str]:
    """The names of the devices to use; never empty.

    Raises: ConfigError, when torch has no device of that name.
    """
    if settings.use != "auto":
        names = [settings.use] if isinstance(settings.use, str) else list(settings.use)
        _check_names(names)
        return names
    if has_no_accelerator():
        return ["cpu"]
    return choose_devices(await probe_devices())


def choose_devices(devices: Sequence[DeviceInfo]) -> list[str]:
    """All devices of the first kind in `_AUTO_ORDER` that the machine has."""
    for kind in _AUTO_ORDER:
        if names := [device.name for device in devices if device.kind == kind]:
            return names
    return ["cpu"]


async def probe_devices() -> list[DeviceInfo]:
    """Ask torch in a child process, which takes seconds. Returns only the CPU when the child fails."""
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
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            output, _ = await process.communicate()
        return [DeviceInfo(**device) for device in json.loads(output)]
    except (TimeoutError, ValueError, TypeError) as error:
        _log.warning("The hardware could not be inspected", action="probe_failed", problem=repr(error))
        return [DeviceInfo(name="cpu", kind="cpu")]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def has_no_accelerator(dev: Path = Path("/dev")) -> bool:
    """True when file names are enough to tell that torch can only use the CPU here."""
    with contextlib.suppress(PackageNotFoundError):
        if version("torch").endswith("+cpu"):
            return True
    if platform.system() == "Linux":
        return not any(any(dev.glob(pattern)) for pattern in _DEVICE_NODES)
    return platform.system() == "Darwin" and platform.machine() != "arm64"


def _check_names(names: Sequence[str]) -> None:
    wrong = [name for name in names if not _is_device_name(name)]
    if wrong or not names:
        raise ConfigError(
            [
                f'devices.use: {name!r} is not a device; use "auto", "cpu", "mps", "cuda:0", "xpu:0", ...'
                for name in wrong
            ]
            or ["devices.use: the list is empty"]
        )


def _is_device_name(name: str) -> bool:
    kind, colon, index = name.partition(":")
    return kind in _TORCH_KINDS and (not colon or index.isdigit())
