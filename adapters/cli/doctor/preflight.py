"""What `doctor` foresees: models that do not fit, cards that torch cannot use, disks that will be full."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapters.cli.doctor.check import BAD, OK, WARN, Check
from adapters.cli.doctor.system import machine_of
from adapters.cli.models.inspect import find_folder
from adapters.cli.output import program
from bot.memory.fit import Fit, fit, gib
from bot.models import TEXT_TO_IMAGE, ModelSpec
from bot.settings import hub_cache, nearest_folder

if TYPE_CHECKING:
    from adapters.cli.ports import Loaded

NVIDIA = ("/proc/driver/nvidia/version", "/sys/module/nvidia/version")
AMD = ("/dev/kfd",)
LOW_DISK_MB = 5000
AGAIN = "`UV_TORCH_BACKEND=auto python3 scripts/install.py` installs the build of torch for it"


def predictions(loaded: "Loaded", devices: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """`devices`: as `Composition.probe_devices` has them."""
    yield from cards(devices)
    hardware = machine_of(devices, loaded)
    for spec in loaded.models:
        yield from _fits(spec, fit(spec, hardware), devices)
    yield from _disk(hardware.disk_free_mb)
    yield from _offline(loaded)
    yield from _classifier(loaded)


def cards(devices: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """Cards that the system has and torch does not use."""
    if any(device.get("kind") != "cpu" for device in devices):
        return
    if shutil.which("nvidia-smi") or any(map(os.path.exists, NVIDIA)):
        yield Check(
            "hardware", WARN, f"There is an NVIDIA driver, but torch finds no card: does nvidia-smi? Then {AGAIN}."
        )
    elif any(map(os.path.exists, AMD)):
        yield Check("hardware", WARN, f"There is an AMD card that torch does not use: {AGAIN}.")


def _fits(spec: ModelSpec, how: Fit, devices: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    if how.place == "no":
        sentence = f"{spec.name} does not fit this machine: it needs {how.lacks}. `{program()} setup` shows what fits."
        yield Check("models", BAD, sentence)
    elif how.words:
        yield Check("models", WARN if how.is_crawling else OK, f"{spec.name} fits. {' '.join(how.words)}")
    has_old = any(device.get("bfloat16") is False for device in devices)
    if spec.dtype == "bfloat16" and has_old and how.place in ("resident", "offload"):
        sentence = (
            f"{spec.name} wants bfloat16, which this card only imitates, slowly: dtype = 'float16' may be faster."
        )
        yield Check("models", WARN, sentence)


def _disk(free_mb: int) -> Iterator[Check]:
    cache = hub_cache()
    nearest = nearest_folder(cache)
    if not os.access(nearest, os.W_OK):
        yield Check("models", BAD, f"Models cannot be fetched: {nearest} cannot be written; HF_HOME moves it.")
    elif free_mb < LOW_DISK_MB:
        where = f"{gib(free_mb)} are free where models go ({cache})"
        yield Check("models", WARN, f"{where}: most need more; HF_HOME moves it.")
    else:
        yield Check("models", OK, f"{gib(free_mb)} are free for models in {cache}.")


def _offline(loaded: "Loaded") -> Iterator[Check]:
    missing = [spec.name for spec in loaded.models if find_folder(spec, loaded.root) is None]
    if missing and os.environ.get("HF_HUB_OFFLINE", "").casefold() in ("1", "true", "yes", "on"):
        yield Check("models", BAD, f"HF_HUB_OFFLINE is set, so {', '.join(missing)} cannot be fetched: take it away.")


def _classifier(loaded: "Loaded") -> Iterator[Check]:
    """Real models draw for admins only while nothing looks at their pictures."""
    settings = loaded.settings.get("safety")
    real = [spec.name for spec in loaded.models if TEXT_TO_IMAGE in spec.tasks and not spec.demo]
    if settings is None or not real:
        return
    from bot.safety import classifier_of

    classifier = classifier_of(settings)
    if classifier.repo and find_folder(classifier, loaded.root) is None:
        sentence = (
            f"The safety classifier {classifier.repo} is not here, so that {', '.join(real)} draw for admins only: "
            f"`{program()} models use {real[0]}` fetches it."
        )
        yield Check("models", WARN, sentence)
